/** The kline server: every call names whom it is for, and a fault of its own is never the caller's. */

import type { Caller } from "./callers.ts";
import { Refusal, unavailable } from "./refusal.ts";
import type { Settings } from "./settings.ts";

export type FunctionName = "get-klines" | "execute-trader" | "trigger-executions";

const TIMEOUT_MS = 5_000;
/** A round of all traders takes longer than a look at one series. */
const ROUND_TIMEOUT_MS = 60_000;
/** What of an answer's headers the caller gets to see. */
const PASSED = [
  "content-type",
  "cache-control",
  "vary",
  "retry-after",
  "www-authenticate",
  "x-user-tier",
  "x-data-state",
  "x-data-age-ms",
];

/**
 * The same function of the kline server, called for `caller`.
 *
 * It takes the caller's word from a key of scope `admin` alone. Throws Refusal 503: it is not
 * there, too slow, in trouble, or does not know our key.
 */
export async function callServer(
  name: FunctionName,
  body: unknown,
  caller: Caller,
  settings: Settings,
): Promise<Response> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (settings.serverKey !== "") headers["x-api-key"] = settings.serverKey;
  if (caller.kind !== "operator") {
    headers["x-on-behalf-of"] = caller.bucket;
    headers["x-on-behalf-tier"] = caller.tier;
  }
  const timeoutMs = name === "trigger-executions" ? ROUND_TIMEOUT_MS : TIMEOUT_MS;
  let answer: Response;
  try {
    answer = await fetch(`${settings.serverUrl}/functions/v1/${name}`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      redirect: "error",
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch (error) {
    const late = (error as Error).name === "TimeoutError";
    throw unavailable(late ? "UPSTREAM_TIMEOUT" : "UPSTREAM_UNREACHABLE");
  }
  if (answer.status >= 500) {
    await answer.body?.cancel();
    throw unavailable("UPSTREAM_FAILED");
  }
  if (answer.status === 401 || answer.status === 403) {
    await answer.body?.cancel();
    console.error(`the kline server refuses our key: status ${answer.status}`);
    throw new Refusal(502, "UPSTREAM_REFUSED", "Data fetch failed");
  }
  const passed = new Headers();
  for (const header of PASSED) {
    const value = answer.headers.get(header);
    if (value !== null) passed.set(header, value);
  }
  return new Response(answer.body, { status: answer.status, headers: passed });
}
