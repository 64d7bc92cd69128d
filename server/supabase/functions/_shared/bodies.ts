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
  const bytes = await readBytes(request);
  let read: unknown;
  try {
    read = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
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

async function readBytes(request: Request): Promise<Uint8Array> {
  const read = new Uint8Array(BODY_MAX);
  let size = 0;
  for await (const chunk of request.body ?? []) {
    if (size + chunk.byteLength > BODY_MAX) {
      throw new Refusal(413, "BODY_TOO_LARGE", `At most ${BODY_MAX} bytes of body are read`);
    }
    read.set(chunk, size);
    size += chunk.byteLength;
  }
  return read.subarray(0, size);
}
