/** Which pages of other sites may call: those listed, letter by letter, everywhere. */

const ALLOWED = {
  "access-control-allow-methods": "POST, OPTIONS",
  "access-control-allow-headers": "authorization, x-client-info, apikey, content-type",
  "access-control-max-age": "86400",
};
const EXPOSED = {
  "access-control-expose-headers":
    "retry-after, x-response-time, x-user-tier, x-data-state, x-data-age-ms",
};

export function preflight(request: Request, origins: readonly string[]): Response {
  return withCors(new Response(null, { status: 204, headers: ALLOWED }), request, origins);
}

export function withCors(
  response: Response,
  request: Request,
  origins: readonly string[],
): Response {
  const origin = request.headers.get("origin");
  response.headers.append("vary", "origin");
  if (origin !== null && origins.includes(origin)) {
    response.headers.set("access-control-allow-origin", origin);
    for (const [name, value] of Object.entries(EXPOSED)) response.headers.set(name, value);
  }
  return response;
}
