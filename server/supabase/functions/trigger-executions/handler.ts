/** trigger-executions: all enabled traders, each once for its newest own close; for the operator. */

import { readBody } from "../_shared/bodies.ts";
import { createHandler } from "../_shared/function.ts";
import { callServer } from "../_shared/klineserver.ts";

export const handler = createHandler(
  "trigger-executions",
  ["operator"],
  async (request, caller, settings) => {
    const { trigger } = await readBody(request);
    const asked = trigger === "cron" ? { trigger } : {};
    return await callServer("trigger-executions", asked, caller, settings);
  },
);
