import { createEnv } from "../_shared/function.ts";
import { handler } from "./handler.ts";

const env = createEnv(Deno.env.toObject());
Deno.serve((request) => handler(request, env));
