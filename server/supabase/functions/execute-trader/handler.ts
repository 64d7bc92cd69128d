/** execute-trader: one trader, evaluated now for the symbols named; for its owner. */

import { invalid, readBody } from "../_shared/bodies.ts";
import { createHandler } from "../_shared/function.ts";
import { callServer } from "../_shared/klineserver.ts";
import { Refusal } from "../_shared/refusal.ts";

export const SYMBOLS_MAX = 500;
const SYMBOL_LENGTH_MAX = 64;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export const handler = createHandler(
  "execute-trader",
  ["user", "operator"],
  async (request, caller, settings) => {
    const { traderId, symbols } = await readBody(request);
    if (traderId === undefined || symbols === undefined) {
      throw new Refusal(400, "MISSING_PARAMETERS", "Missing required parameters");
    }
    if (typeof traderId !== "string" || !UUID.test(traderId)) {
      throw invalid([{ path: "traderId", message: "Expected a UUID" }]);
    }
    if (!Array.isArray(symbols) || symbols.length > SYMBOLS_MAX || !symbols.every(isSymbol)) {
      const message = `Expected at most ${SYMBOLS_MAX} symbols`;
      throw invalid([{ path: "symbols", message }]);
    }
    return await callServer("execute-trader", { traderId, symbols }, caller, settings);
  },
);

function isSymbol(symbol: unknown): boolean {
  return typeof symbol === "string" && symbol.length >= 1 && symbol.length <= SYMBOL_LENGTH_MAX;
}
