/** How often each caller may ask: so many requests in each minute. */

export const WINDOW_MS = 60_000;
/** Callers counted; when there are more, the one that began its minute first is forgotten. */
export const CALLERS_MAX = 10_000;

/** Refuses early what the kline server, which counts for all of us together, would refuse too. */
export class RateLimiter {
  readonly #now: () => number;
  readonly #windows = new Map<string, { startMs: number; count: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** True if one more request of `caller` is within `limit`. */
  take(caller: string, limit: number): boolean {
    const now = this.#now();
    const window = this.#windows.get(caller);
    if (window !== undefined && now - window.startMs < WINDOW_MS) {
      window.count += 1;
      return window.count <= limit;
    }
    this.#windows.delete(caller);
    this.#windows.set(caller, { startMs: now, count: 1 });
    if (this.#windows.size > CALLERS_MAX) {
      this.#windows.delete(this.#windows.keys().next().value!);
    }
    return limit >= 1;
  }
}
