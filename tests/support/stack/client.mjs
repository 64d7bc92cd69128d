// What supabase-js makes of the project: a trader comes back as it was sent, and a change is told.
// Arguments: folder of node_modules, address, publishable key, token, trader as JSON.
import { createRequire } from "node:module";

const [folder, address, key, token, trader] = process.argv.slice(2);
const { createClient } = createRequire(`${folder}/`)("@supabase/supabase-js");
const client = createClient(address, key, { accessToken: () => Promise.resolve(token) });
await client.realtime.setAuth(); // else the first channel is joined as a visitor

const told = Promise.withResolvers();
const joined = Promise.withResolvers();
client.channel("traders")
  // Not "*": deletions of others are told to everybody, as at Supabase.
  .on("postgres_changes", { event: "INSERT", schema: "public", table: "traders" }, told.resolve)
  .subscribe((state, error) => state === "SUBSCRIBED" ? joined.resolve() : joined.reject(error));
await joined.promise;
const made = await client.from("traders").insert(JSON.parse(trader)).select().single();
if (made.error) throw new Error(made.error.message);
const read = await client.from("traders").select().eq("id", made.data.id).single();
const change = await told.promise;
console.log(JSON.stringify({ made: made.data, read: read.data, told: change.new }));
process.exit(0);
