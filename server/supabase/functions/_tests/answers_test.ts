import assert from "node:assert/strict";
import { REQUESTS_PER_MINUTE } from "../_shared/tiers.ts";
import { handler as execute } from "../execute-trader/handler.ts";
import { handler as klines } from "../get-klines/handler.ts";
import { handler as trigger } from "../trigger-executions/handler.ts";
import { call, ORIGIN, SECRET, USER, withProject } from "./project.ts";

const WINDOW = { symbol: "BTCUSDT", timeframe: "1m" };
const OPERATOR = { apikey: SECRET };

withProject("each address has ten requests a minute", async (project) => {
  const env = project.env();
  const ask = (address: string) => call(klines, env, WINDOW, { "x-forwarded-for": address });
  for (let asked = 0; asked < REQUESTS_PER_MINUTE.anonymous; asked++) {
    assert.equal((await ask("198.51.100.7, 203.0.113.1")).status, 200);
  }
  const refused = await ask("198.51.100.8, 203.0.113.1"); // the first entry is the client's word
  assert.equal(refused.status, 429);
  assert.deepEqual(refused.body, {
    error: "Too many requests",
    code: "RATE_LIMITED",
    tier: "anonymous",
    retryAfter: 60,
  });
  assert.equal(refused.headers.get("retry-after"), "60");
  assert.equal((await ask("203.0.113.2")).status, 200);
  project.nowMs += 60_000;
  assert.equal((await ask("203.0.113.1")).status, 200);
});

withProject("users are counted apart from each other and from their address", async (project) => {
  const env = project.env();
  const headers = { authorization: `Bearer ${await project.token()}` };
  for (let asked = 0; asked < REQUESTS_PER_MINUTE.free; asked++) {
    assert.equal((await call(klines, env, WINDOW, headers)).status, 200);
  }
  assert.equal((await call(klines, env, WINDOW, headers)).body["tier"], "free");
  assert.equal((await call(execute, env, {}, headers)).status, 400); // another function
  const other = await project.token({ sub: USER.replace("6", "7") });
  const asked = await call(klines, env, WINDOW, { authorization: `Bearer ${other}` });
  assert.equal(asked.status, 200);
});

withProject("the operator is not counted", async (project) => {
  const env = project.env();
  for (let asked = 0; asked <= REQUESTS_PER_MINUTE.elite; asked++) {
    assert.equal((await call(klines, env, WINDOW, OPERATOR)).status, 200);
  }
});

withProject("only listed origins may read, also outside production", async (project) => {
  const env = project.env();
  for (
    const [origin, allowed] of [
      [ORIGIN, true],
      ["https://other.example", true],
      ["https://localhost.attacker.example", false],
      ["http://localhost:5173", false],
      [`${ORIGIN}.attacker.example`, false],
      ["null", false],
    ] as const
  ) {
    for (const method of ["POST", "OPTIONS"]) {
      const answer = await call(klines, env, WINDOW, { origin }, method);
      assert.equal(answer.status, method === "POST" ? 200 : 204);
      const echoed = answer.headers.get("access-control-allow-origin");
      assert.equal(echoed, allowed ? origin : null);
      assert.equal(answer.headers.get("vary"), "origin");
    }
  }
  assert.equal(project.seen.length, 6); // preflights ask nobody
});

withProject("refusals have their origin header too", async (project) => {
  const answer = await call(execute, project.env(), {}, { origin: ORIGIN });
  assert.equal(answer.status, 401);
  assert.equal(answer.headers.get("access-control-allow-origin"), ORIGIN);
  assert.equal(answer.headers.get("cache-control"), "no-store");
});

withProject("other methods are refused, GET too: it would change something", async (project) => {
  for (const handler of [klines, execute, trigger]) {
    for (const method of ["GET", "PUT", "DELETE"]) {
      const answer = await call(handler, project.env(), {}, OPERATOR, method);
      assert.equal(answer.status, 405);
      assert.equal(answer.headers.get("allow"), "POST, OPTIONS");
    }
  }
  assert.deepEqual(project.seen, []);
});

withProject("every wrong field of get-klines is named", async (project) => {
  const env = project.env();
  for (
    const [body, paths] of [
      [{}, ["symbol", "timeframe"]],
      [{ symbol: "", timeframe: "2m", limit: 0 }, ["symbol", "timeframe", "limit"]],
      [{ symbol: "A".repeat(21), timeframe: "1M", limit: 501 }, ["symbol", "timeframe", "limit"]],
      [{ ...WINDOW, limit: 1.5 }, ["limit"]],
      [{ ...WINDOW, limit: "5" }, ["limit"]],
      [[], [""]],
      ["null", [""]],
    ] as const
  ) {
    const answer = await call(klines, env, body, OPERATOR);
    assert.equal(answer.status, 400);
    assert.equal(answer.body["error"], "Validation failed");
    const details = answer.body["details"] as { path: string }[];
    assert.deepEqual(details.map((fault) => fault.path), paths);
  }
  const broken = await call(klines, env, "{", OPERATOR);
  assert.equal(broken.body["error"], "Invalid JSON in request body");
  assert.equal((await call(klines, env, " ".repeat(70_000), OPERATOR)).status, 413);
  assert.deepEqual(project.seen, []);
});

withProject("execute-trader says what is missing", async (project) => {
  const env = project.env();
  for (const body of [{}, { traderId: USER }, { symbols: [] }]) {
    const answer = await call(execute, env, body, OPERATOR);
    assert.equal(answer.status, 400);
    assert.equal(answer.body["error"], "Missing required parameters");
  }
  for (
    const body of [
      { traderId: "../metrics", symbols: [] },
      { traderId: USER, symbols: "BTCUSDT" },
      { traderId: USER, symbols: [1] },
      { traderId: USER, symbols: Array(501).fill("A") },
    ]
  ) {
    assert.equal((await call(execute, env, body, OPERATOR)).body["error"], "Validation failed");
  }
  assert.deepEqual(project.seen, []);
});

withProject("what the server refuses is passed on with its reason", async (project) => {
  project.reply = () =>
    Response.json({ error: "Unknown symbol", code: "UNKNOWN_SYMBOL" }, {
      status: 404,
      headers: { "cache-control": "no-store", "x-secret": "kept" },
    });
  const answer = await call(klines, project.env(), WINDOW);
  assert.equal(answer.status, 404);
  assert.equal(answer.body["code"], "UNKNOWN_SYMBOL");
  assert.equal(answer.headers.get("x-secret"), null);
});

withProject("that data are stale is passed on too", async (project) => {
  project.reply = () =>
    Response.json({}, { headers: { "x-data-state": "stale", vary: "authorization" } });
  const answer = await call(klines, project.env(), WINDOW, { origin: ORIGIN });
  assert.equal(answer.headers.get("x-data-state"), "stale");
  assert.match(answer.headers.get("access-control-expose-headers") ?? "", /x-data-state/);
  assert.equal(answer.headers.get("vary"), "authorization, origin");
});

withProject("a server in trouble is 5xx with a code, and nobody keeps it", async (project) => {
  const env = project.env();
  for (
    const [status, expected, code] of [
      [500, 503, "UPSTREAM_FAILED"],
      [503, 503, "UPSTREAM_FAILED"],
      [401, 502, "UPSTREAM_REFUSED"],
      [403, 502, "UPSTREAM_REFUSED"],
    ] as const
  ) {
    project.reply = () => new Response("a traceback", { status });
    const answer = await call(klines, env, WINDOW, OPERATOR);
    assert.equal(answer.status, expected);
    assert.equal(answer.body["code"], code);
    assert.equal(answer.headers.get("cache-control"), "no-store");
    assert.doesNotMatch(JSON.stringify(answer.body), /traceback/);
  }
  project.reply = () => Response.redirect(`${project.url}/elsewhere`, 307);
  const moved = await call(klines, env, WINDOW, OPERATOR); // with our key, to wherever it says
  assert.equal(moved.body["code"], "UPSTREAM_UNREACHABLE");
  assert.ok(project.seen.every((seen) => seen.path !== "/elsewhere"));
  const nobody = project.env({ KLINE_SERVER_URL: "http://127.0.0.1:9" });
  const answer = await call(klines, nobody, WINDOW);
  assert.equal(answer.status, 503);
  assert.equal(answer.body["code"], "UPSTREAM_UNREACHABLE");
});

withProject("the names of old are read too", async (project) => {
  const env = project.env({
    KLINE_SERVER_URL: "",
    KLINE_SERVER_API_KEY: "",
    GO_SERVER_URL: `${project.url}/base/`,
    GO_SERVER_API_KEY: "old-key",
  });
  assert.equal((await call(klines, env, WINDOW)).status, 200);
  assert.equal(project.seen[0]?.path, "/base/functions/v1/get-klines");
  assert.equal(project.seen[0]?.headers.get("x-api-key"), "old-key");
});
