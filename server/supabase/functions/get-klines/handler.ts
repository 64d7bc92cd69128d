/** get-klines: the newest klines of a series and its ticker, as numbers; for anybody. */

import { type Fault, invalid, readBody } from "../_shared/bodies.ts";
import { createHandler } from "../_shared/function.ts";
import { callServer } from "../_shared/klineserver.ts";

export const TIMEFRAMES = ["1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d"];
export const LIMIT_DEFAULT = 100;
export const LIMIT_MAX = 500;
const SYMBOL_LENGTH_MAX = 20;

interface Window {
  readonly symbol: string;
  readonly timeframe: string;
  readonly limit: number;
}

export const handler = createHandler(
  "get-klines",
  ["anybody", "user", "operator"],
  async (request, caller, settings) => {
    const window = readWindow(await readBody(request));
    return await callServer("get-klines", window, caller, settings);
  },
);

function readWindow(body: Readonly<Record<string, unknown>>): Window {
  const { symbol, timeframe, limit = LIMIT_DEFAULT } = body;
  const faults: Fault[] = [];
  const length = typeof symbol === "string" ? [...symbol].length : 0;
  if (length < 1 || length > SYMBOL_LENGTH_MAX) {
    faults.push({ path: "symbol", message: `Expected 1 to ${SYMBOL_LENGTH_MAX} characters` });
  }
  if (typeof timeframe !== "string" || !TIMEFRAMES.includes(timeframe)) {
    faults.push({ path: "timeframe", message: `Expected one of ${TIMEFRAMES.join(", ")}` });
  }
  if (!Number.isInteger(limit) || (limit as number) < 1 || (limit as number) > LIMIT_MAX) {
    faults.push({ path: "limit", message: `Expected a whole number from 1 to ${LIMIT_MAX}` });
  }
  if (faults.length > 0) throw invalid(faults);
  return { symbol, timeframe, limit } as Window;
}
