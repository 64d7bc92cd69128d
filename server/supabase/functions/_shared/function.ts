/** What all functions do around their own part: origins, method, caller, rate, errors. */

import { type Caller, callerOf } from "./callers.ts";
import { preflight, withCors } from "./cors.ts";
import type { FunctionName } from "./klineserver.ts";
import { RateLimiter } from "./limits.ts";
import { rateLimited, Refusal, unauthorized } from "./refusal.ts";
import { readSettings, type Settings } from "./settings.ts";
import { REQUESTS_PER_MINUTE, Tiers } from "./tiers.ts";
import { Tokens } from "./tokens.ts";

/** What a function runs with; one for each process, so that it remembers callers and keys. */
export interface Env {
  readonly settings: Settings;
  readonly now: () => number;
  readonly tokens: Tokens;
  readonly tiers: Tiers;
  readonly limiter: RateLimiter;
}

export type Handler = (request: Request, env: Env) => Promise<Response>;

export function createEnv(
  variables: Readonly<Record<string, string>>,
  now: () => number = Date.now,
): Env {
  const settings = readSettings(variables);
  return {
    settings,
    now,
    tokens: new Tokens(settings),
    tiers: new Tiers(settings, now),
    limiter: new RateLimiter(now),
  };
}

/**
 * A whole function around `work`, which gets requests of callers of the kinds named.
 *
 * Every answer, also of a failure, goes through here: none is without its origin header, and none
 * shows why we failed.
 */
export function createHandler(
  name: FunctionName,
  kinds: readonly Caller["kind"][],
  work: (request: Request, caller: Caller, settings: Settings) => Promise<Response>,
): Handler {
  return async (request, env) => {
    const { settings, now } = env;
    if (request.method === "OPTIONS") return preflight(request, settings.allowedOrigins);
    const started = now();
    let response: Response;
    try {
      if (request.method !== "POST") {
        throw new Refusal(405, "METHOD_NOT_ALLOWED", "Method not allowed", {}, {
          allow: "POST, OPTIONS",
        });
      }
      const caller = await callerOf(request, settings, env.tokens, env.tiers);
      const limit = REQUESTS_PER_MINUTE[caller.tier];
      if (caller.kind !== "operator" && !env.limiter.take(`${name} ${caller.bucket}`, limit)) {
        throw rateLimited(caller.tier);
      }
      if (!kinds.includes(caller.kind)) {
        throw caller.kind === "anybody"
          ? unauthorized()
          : new Refusal(403, "FORBIDDEN", "Forbidden");
      }
      response = await work(request, caller, settings);
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(`${name}:`, error);
      const refusal = error instanceof Refusal
        ? error
        : new Refusal(500, "INTERNAL_ERROR", "Internal server error");
      response = refusal.answer();
    }
    response.headers.set("x-response-time", `${Math.round(now() - started)}ms`);
    return withCors(response, request, settings.allowedOrigins);
  };
}
