/** Reading a request's JSON: bounded, and each wrong field named. */

import { Refusal } from "./refusal.ts";

/** Bytes of a request that are read: 500 symbols fit many times. */
export const BODY_MAX = 65_536;

export interface Fault {
  readonly path: string;
  readonly message: string;
}

/** The body as an object. Throws Refusal: it is none, or too long. */
export async function readBody(request: Request): Promise<Record<string, unknown>> {
  const text = await readText(request);
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    throw new Refusal(400, "INVALID_JSON", "Invalid JSON in request body");
  }
  if (typeof read !== "object" || read === null || Array.isArray(read)) {
    throw invalid([{ path: "", message: "Expected an object" }]);
  }
  return read as Record<string, unknown>;
}

export function invalid(details: readonly Fault[]): Refusal {
  return new Refusal(400, "VALIDATION_FAILED", "Validation failed", { details });
}

async function readText(request: Request): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > BODY_MAX) {
      throw new Refusal(413, "BODY_TOO_LARGE", `At most ${BODY_MAX} bytes of body are read`);
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
