/** Why a request is not answered; `answer` turns it into the response. */

export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly extra: Readonly<Record<string, unknown>> = {},
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }

  answer(): Response {
    const body = { error: this.message, code: this.code, ...this.extra };
    return Response.json(body, {
      status: this.status,
      headers: { "cache-control": "no-store", ...this.headers },
    });
  }
}

export const RETRY_AFTER_S = 60;

export function unauthorized(): Refusal {
  return new Refusal(401, "UNAUTHORIZED", "Unauthorized", {}, {
    "www-authenticate": 'Bearer realm="Edge Functions"',
  });
}

export function rateLimited(tier: string): Refusal {
  return new Refusal(
    429,
    "RATE_LIMITED",
    "Too many requests",
    { tier, retryAfter: RETRY_AFTER_S },
    { "retry-after": String(RETRY_AFTER_S) },
  );
}

/** The kline server, or the project, did not do its part. */
export function unavailable(code: string, message = "Data fetch failed"): Refusal {
  return new Refusal(503, code, message, {}, { "retry-after": "5" });
}
