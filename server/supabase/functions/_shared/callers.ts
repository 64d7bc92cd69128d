/** Who calls: the operator's secret key, a user by an access token, or anybody. */

import { unauthorized, unavailable } from "./refusal.ts";
import type { Settings } from "./settings.ts";
import type { Tier, Tiers } from "./tiers.ts";
import { KeysUnavailable, type Tokens, type User } from "./tokens.ts";

export interface Caller {
  readonly kind: "anybody" | "user" | "operator";
  /** `user:<id>` or `address:<address>`: whose requests are counted together. */
  readonly bucket: string;
  readonly tier: Tier;
}

const OPERATOR: Caller = { kind: "operator", bucket: "operator", tier: "elite" };

/**
 * The caller of a request, from its headers alone; whatever the body says is no identity.
 *
 * The publishable key is everybody's and names no one. A key or token that is neither ours nor
 * valid is refused, not taken as none: its sender should know.
 */
export async function callerOf(
  request: Request,
  settings: Settings,
  tokens: Tokens,
  tiers: Tiers,
): Promise<Caller> {
  const key = request.headers.get("apikey") ?? "";
  const authorization = request.headers.get("authorization");
  const token = /^bearer +(\S+) *$/i.exec(authorization ?? "")?.[1] ?? "";
  if (authorization !== null && token === "") throw unauthorized();
  if (await isOneOf(key, settings.secretKeys) || await isOneOf(token, settings.secretKeys)) {
    return OPERATOR;
  }
  if (key !== "" && !settings.publishableKeys.includes(key)) throw unauthorized();
  if (token === "" || settings.publishableKeys.includes(token)) {
    return {
      kind: "anybody",
      bucket: `address:${addressOf(request, settings)}`,
      tier: "anonymous",
    };
  }
  const user = await userOf(token, tokens);
  const tier = user.nameless ? "anonymous" : await tiers.of(user.id);
  return { kind: "user", bucket: `user:${user.id}`, tier };
}

async function userOf(token: string, tokens: Tokens): Promise<User> {
  let user: User | null;
  try {
    user = await tokens.userOf(token);
  } catch (error) {
    if (!(error instanceof KeysUnavailable)) throw error;
    throw unavailable("AUTH_UNAVAILABLE", "Authentication is not possible now");
  }
  if (user === null) throw unauthorized();
  return user;
}

/** What the nearest proxy saw; entries before the last may be the client's own words. */
function addressOf(request: Request, settings: Settings): string {
  const listed = request.headers.get(settings.addressHeader) ?? "";
  const last = listed.split(",").at(-1)!.trim();
  return /^[0-9a-fA-F.:]{2,45}$/.test(last) ? last : "unknown";
}

/** Compares digests, so that how long it takes tells nothing of the key. */
async function isOneOf(shown: string, keys: readonly string[]): Promise<boolean> {
  if (shown === "") return false;
  const digest = await sha256(shown);
  let found = 0;
  for (const key of keys) {
    const own = await sha256(key);
    let different = 0;
    for (let index = 0; index < own.length; index++) different |= own[index]! ^ digest[index]!;
    found |= Number(different === 0);
  }
  return found === 1;
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}
