/** What a user's tier is, as the project's tables say, kept for a minute. */

import type { Settings } from "./settings.ts";

export type Tier = "anonymous" | "free" | "pro" | "elite";

/** Requests a minute of one caller to one function. */
export const REQUESTS_PER_MINUTE: Readonly<Record<Tier, number>> = {
  anonymous: 10,
  free: 100,
  pro: 500,
  elite: 1000,
};

const KEPT_MS = 60_000;
/** Users remembered; the one asked for longest ago is forgotten first. */
const USERS_MAX = 10_000;
const TIMEOUT_MS = 2_000;

interface Known {
  readonly tier: Tier;
  readonly untilMs: number;
}

interface Row {
  readonly tier: string;
  readonly status: string;
  readonly expires_at: string | null;
}

export class Tiers {
  readonly #settings: Settings;
  readonly #now: () => number;
  readonly #known = new Map<string, Known>();

  constructor(settings: Settings, now: () => number) {
    this.#settings = settings;
    this.#now = now;
  }

  /** The tier of a user. While the table cannot be read: the last one known, else `free`. */
  async of(user: string): Promise<Tier> {
    const known = this.#known.get(user);
    if (known !== undefined && this.#now() < known.untilMs) return known.tier;
    const tier = await this.#read(user) ?? known?.tier ?? "free";
    this.#known.delete(user);
    this.#known.set(user, { tier, untilMs: this.#now() + KEPT_MS });
    if (this.#known.size > USERS_MAX) this.#known.delete(this.#known.keys().next().value!);
    return tier;
  }

  async #read(user: string): Promise<Tier | null> {
    const { supabaseUrl, secretKeys } = this.#settings;
    const key = secretKeys[0] ?? "";
    const headers: Record<string, string> = { apikey: key };
    // Keys of old are tokens, and count where tokens do.
    if (!key.startsWith("sb_")) headers["authorization"] = `Bearer ${key}`;
    const query = `user_id=eq.${encodeURIComponent(user)}&select=tier,status,expires_at`;
    try {
      const answer = await fetch(`${supabaseUrl}/rest/v1/user_tiers?${query}`, {
        headers,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const rows: Row[] = await answer.json();
      if (answer.ok) return this.#tierOf(rows[0]);
      console.error(`user_tiers: status ${answer.status}`);
    } catch (error) {
      console.error(`user_tiers: ${(error as Error).name}`);
    }
    return null;
  }

  #tierOf(row: Row | undefined): Tier {
    const over = row?.expires_at != null && Date.parse(row.expires_at) <= this.#now();
    if (row === undefined || row.status !== "active" || over) return "free";
    return Object.hasOwn(REQUESTS_PER_MINUTE, row.tier) ? row.tier as Tier : "free";
  }
}
