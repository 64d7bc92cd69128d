/** Whether an access token is the project's own, and whom it names. */

import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeProtectedHeader,
  errors,
  jwtVerify,
} from "jose";
import type { JSONWebKeySet, JWTVerifyGetKey } from "jose";
import type { Settings } from "./settings.ts";

/** Characters of a token that are looked at: more is no token of the project. */
const LENGTH_MAX = 8192;
const LEEWAY_S = 5;
/** Faults of the fetch, not of the token. */
const NO_KEYS = ["ERR_JWKS_TIMEOUT", "ERR_JWKS_INVALID", "ERR_JOSE_GENERIC"];
const USER_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The public keys could not be had, so nothing is known of the token. */
export class KeysUnavailable extends Error {}

/** Whom a token names; `nameless` are those who signed in without giving any name. */
export interface User {
  readonly id: string;
  readonly nameless: boolean;
}

/** Checks tokens against the project's keys; `userOf` gives null for a bad token. */
export class Tokens {
  readonly #issuer: string;
  readonly #secret: Uint8Array | null;
  readonly #keys: JWTVerifyGetKey;

  constructor(settings: Settings) {
    this.#issuer = `${settings.publicUrl}/auth/v1`;
    this.#secret = settings.jwtSecret ? new TextEncoder().encode(settings.jwtSecret) : null;
    this.#keys = settings.jwks === null
      // Fetched when first needed and then for unknown keys, at most twice a minute.
      ? createRemoteJWKSet(new URL(`${this.#issuer}/.well-known/jwks.json`), {
        cooldownDuration: 30_000,
        timeoutDuration: 3_000,
      })
      : createLocalJWKSet(readKeys(settings.jwks));
  }

  async userOf(token: string): Promise<User | null> {
    const algorithm = algorithmOf(token);
    // The algorithm chooses the key, so a public key can never serve as a shared secret.
    const shared = algorithm === "HS256";
    if (algorithm === null || (shared && this.#secret === null)) return null;
    const rules = {
      issuer: this.#issuer,
      audience: "authenticated",
      clockTolerance: LEEWAY_S,
      requiredClaims: ["exp", "sub", "role"],
    };
    try {
      const { payload } = shared
        ? await jwtVerify(token, this.#secret!, { ...rules, algorithms: ["HS256"] })
        : await jwtVerify(token, this.#keys, { ...rules, algorithms: ["ES256", "RS256"] });
      const id = payload.sub ?? "";
      if (payload["role"] !== "authenticated" || !USER_ID.test(id)) return null;
      return { id, nameless: payload["is_anonymous"] === true };
    } catch (error) {
      if (error instanceof errors.JOSEError && !NO_KEYS.includes(error.code)) return null;
      throw new KeysUnavailable("the project's public keys cannot be had", { cause: error });
    }
  }
}

/** What a token says it is signed with; null if it is none. */
function algorithmOf(token: string): string | null {
  if (token.length > LENGTH_MAX) return null;
  try {
    return decodeProtectedHeader(token).alg ?? null;
  } catch {
    return null;
  }
}

function readKeys(text: string): JSONWebKeySet {
  const read = JSON.parse(text);
  return Array.isArray(read) ? { keys: read } : read;
}
