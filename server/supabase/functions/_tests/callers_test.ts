import assert from "node:assert/strict";
import { handler as execute } from "../execute-trader/handler.ts";
import { handler as klines } from "../get-klines/handler.ts";
import { handler as trigger } from "../trigger-executions/handler.ts";
import { call, OTHER, PUBLISHABLE, SECRET, USER, withProject } from "./project.ts";

const WINDOW = { symbol: "BTCUSDT", timeframe: "1m" };
const RUN = { traderId: USER, symbols: ["BTCUSDT"] };

withProject("who calls is told to the server, whatever the body says", async (project) => {
  project.tierRows = [{ tier: "pro", status: "active", expires_at: null }];
  const headers = { apikey: PUBLISHABLE, authorization: `Bearer ${await project.token()}` };
  const answer = await call(execute, project.env(), { ...RUN, userId: OTHER }, headers);
  assert.equal(answer.status, 200);
  const [seen] = project.seen;
  assert.equal(seen?.path, "/functions/v1/execute-trader");
  assert.deepEqual(seen?.body, RUN);
  assert.equal(seen?.headers.get("x-on-behalf-of"), `user:${USER}`);
  assert.equal(seen?.headers.get("x-on-behalf-tier"), "pro");
  assert.equal(seen?.headers.get("x-api-key"), "key-of-the-server");
});

withProject("the publishable key is no user", async (project) => {
  const env = project.env();
  const shown: Record<string, string>[] = [
    { apikey: PUBLISHABLE },
    { apikey: PUBLISHABLE, authorization: `Bearer ${PUBLISHABLE}` },
    { authorization: `Bearer ${PUBLISHABLE}` },
    {},
  ];
  for (const headers of shown) {
    const refused = await call(execute, env, RUN, headers);
    assert.equal(refused.status, 401);
    assert.deepEqual(refused.body, { error: "Unauthorized", code: "UNAUTHORIZED" });
    assert.equal(refused.headers.get("www-authenticate"), 'Bearer realm="Edge Functions"');
    assert.equal((await call(trigger, env, {}, headers)).status, 401);
    assert.equal((await call(klines, env, WINDOW, headers)).status, 200);
  }
  assert.ok(project.seen.every((seen) => seen.headers.get("x-on-behalf-tier") === "anonymous"));
});

withProject("the secret key is the operator, who is not acted for", async (project) => {
  const env = project.env();
  const shown: Record<string, string>[] = [
    { apikey: SECRET },
    { authorization: `Bearer ${SECRET}` },
  ];
  for (const headers of shown) {
    const answer = await call(trigger, env, { trigger: "cron" }, headers);
    assert.equal(answer.status, 200);
  }
  assert.ok(project.seen.every((seen) => seen.headers.get("x-on-behalf-of") === null));
  assert.deepEqual(project.seen[0]?.body, { trigger: "cron" });
});

withProject("a user may not trigger everybody's traders", async (project) => {
  const headers = { authorization: `Bearer ${await project.token()}` };
  const answer = await call(trigger, project.env(), {}, headers);
  assert.equal(answer.status, 403);
  assert.deepEqual(answer.body, { error: "Forbidden", code: "FORBIDDEN" });
});

withProject("a token that is not good is refused, not taken as none", async (project) => {
  const env = project.env();
  const now = Math.floor(Date.now() / 1000);
  const good = await project.token();
  const [head, claims, signature] = good.split(".");
  const none = btoa(JSON.stringify({ alg: "none" })).replaceAll("=", "");
  const bad = {
    expired: await project.token({ exp: now - 60 }),
    "without an end": await project.token({ exp: undefined }),
    "another project's": await project.token({ iss: "https://other.supabase.co/auth/v1" }),
    "another audience": await project.token({ aud: "anon" }),
    "another role": await project.token({ role: "service_role" }),
    "no user": await project.token({ sub: "operator" }),
    "an unknown key": await project.token({}, "second"),
    altered: `${head}.${claims}.${signature!.slice(0, -4)}AAAA`,
    unsigned: `${none}.${claims}.`,
    "no token": "x",
    "too long": "a".repeat(9000),
  };
  for (const [what, token] of Object.entries(bad)) {
    const answer = await call(klines, env, WINDOW, { authorization: `Bearer ${token}` });
    assert.equal(answer.status, 401, what);
  }
  for (const authorization of ["Basic dTpw", "Bearer", "Bearer "]) {
    assert.equal((await call(klines, env, WINDOW, { authorization })).status, 401);
  }
  assert.equal((await call(klines, env, WINDOW, { apikey: `${SECRET}x` })).status, 401);
  assert.deepEqual(project.seen, []);
});

withProject("who signed in without a name has no tier", async (project) => {
  project.tierRows = [{ tier: "elite", status: "active", expires_at: null }];
  const headers = { authorization: `Bearer ${await project.token({ is_anonymous: true })}` };
  assert.equal((await call(klines, project.env(), WINDOW, headers)).status, 200);
  const [seen] = project.seen;
  assert.equal(seen?.headers.get("x-on-behalf-of"), `user:${USER}`);
  assert.equal(seen?.headers.get("x-on-behalf-tier"), "anonymous");
});

withProject("a shared secret counts only where it is set", async (project) => {
  const { SignJWT } = await import("jose");
  const secret = "a-secret-of-at-least-thirty-two-bytes";
  const token = await new SignJWT({
    iss: `${project.url}/auth/v1`,
    aud: "authenticated",
    role: "authenticated",
    sub: USER,
    exp: Math.floor(Date.now() / 1000) + 600,
  }).setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(secret));
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await call(klines, project.env(), WINDOW, headers)).status, 401);
  const env = project.env({ SUPABASE_JWT_SECRET: secret });
  assert.equal((await call(klines, env, WINDOW, headers)).status, 200);
});

withProject("keys that cannot be fetched make no token bad", async (project) => {
  project.keysStatus = 500;
  const headers = { authorization: `Bearer ${await project.token()}` };
  const answer = await call(klines, project.env(), WINDOW, headers);
  assert.equal(answer.status, 503);
  assert.equal(answer.body["code"], "AUTH_UNAVAILABLE");
});

withProject("tiers come from the table, at most once a minute", async (project) => {
  const env = project.env();
  const headers = { authorization: `Bearer ${await project.token()}` };
  const tier = async () => {
    await call(klines, env, WINDOW, headers);
    return project.seen.at(-1)?.headers.get("x-on-behalf-tier");
  };
  const past = new Date(project.nowMs - 1).toISOString();
  const later = new Date(project.nowMs + 3_600_000).toISOString();
  for (
    const [row, expected] of [
      [undefined, "free"],
      [{ tier: "elite", status: "active", expires_at: later }, "elite"],
      [{ tier: "elite", status: "active", expires_at: past }, "free"],
      [{ tier: "pro", status: "past_due", expires_at: null }, "free"],
      [{ tier: "toString", status: "active", expires_at: null }, "free"],
      [{ tier: "pro", status: "active", expires_at: null }, "pro"],
    ] as const
  ) {
    project.tierRows = row === undefined ? [] : [row];
    project.nowMs += 60_000;
    const before = project.tierReads;
    assert.equal(await tier(), expected);
    assert.equal(await tier(), expected);
    assert.equal(project.tierReads, before + 1);
  }
  project.nowMs += 60_000;
  project.tierStatus = 500; // the last one known holds
  assert.equal(await tier(), "pro");
});
