/** What the environment says: where the kline server and the project are, and their keys. */

export interface Settings {
  /** Where the project's tables are. */
  readonly supabaseUrl: string;
  /** The project as its users see it: what tokens name as their issuer. */
  readonly publicUrl: string;
  readonly secretKeys: readonly string[];
  readonly publishableKeys: readonly string[];
  /** The project's public keys, where the platform hands them in; else they are fetched. */
  readonly jwks: string | null;
  /** Only where tokens are still signed with a shared secret. */
  readonly jwtSecret: string | null;
  readonly serverUrl: string;
  readonly serverKey: string;
  readonly allowedOrigins: readonly string[];
  /** Header in which the nearest proxy says whom it serves; its last entry counts. */
  readonly addressHeader: string;
}

export const DEFAULT_ORIGIN = "http://localhost:5173";

/** Settings by the names of the platform, then by ours; throws with the name that is missing. */
export function readSettings(env: Readonly<Record<string, string>>): Settings {
  return {
    supabaseUrl: address(env, "SUPABASE_URL"),
    publicUrl: address(env, "SUPABASE_PUBLIC_URL", "SUPABASE_URL"),
    secretKeys: keys(env, "SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
    publishableKeys: keys(env, "SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY"),
    jwks: env["SUPABASE_JWKS"] || null,
    jwtSecret: env["SUPABASE_JWT_SECRET"] || null,
    serverUrl: address(env, "KLINE_SERVER_URL", "GO_SERVER_URL"),
    serverKey: env["KLINE_SERVER_API_KEY"] || env["GO_SERVER_API_KEY"] || "",
    allowedOrigins: (env["ALLOWED_ORIGINS"] ?? DEFAULT_ORIGIN)
      .split(",").map((origin) => origin.trim()).filter(Boolean),
    addressHeader: env["CLIENT_ADDRESS_HEADER"] || "x-forwarded-for",
  };
}

/** The first of the names that is set, as an http(s) address without a slash at its end. */
function address(env: Readonly<Record<string, string>>, ...names: string[]): string {
  const name = names.find((candidate) => env[candidate]);
  if (name === undefined) {
    throw new Error(`${names.join(" or ")} must be set`);
  }
  const url = new URL(env[name]!);
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new Error(`${name} must be an http or https address`);
  }
  return (url.origin + url.pathname).replace(/\/+$/, "");
}

/** Every key of one kind: the platform's list, the single one, and the one of old. */
function keys(env: Readonly<Record<string, string>>, name: string, old: string): string[] {
  const listed: unknown = JSON.parse(env[`${name}S`] || "{}");
  const found = [...Object.values(listed as Record<string, unknown>), env[name], env[old]];
  return [...new Set(found.filter((key): key is string => typeof key === "string" && key !== ""))];
}
