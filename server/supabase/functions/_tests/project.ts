/** What a function finds around it, on loopback ports: the project's keys and tables, a kline server. */

import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { createEnv, type Env, type Handler } from "../_shared/function.ts";

export const USER = "6f1c2f4e-5d3b-4a7c-9e21-0b8a7d6c5e4f";
export const OTHER = "0b8a7d6c-5e4f-4a7c-9e21-6f1c2f4e5d3b";
export const SECRET = "sb_secret_of_the_tests";
export const PUBLISHABLE = "sb_publishable_of_the_tests";
export const ORIGIN = "https://app.example";

export interface Seen {
  readonly path: string;
  readonly headers: Headers;
  readonly body: unknown;
}

/** One project and its kline server; `seen` has what the latter was asked. */
export class Project {
  readonly seen: Seen[] = [];
  tierRows: unknown[] = [];
  tierStatus = 200;
  tierReads = 0;
  keysStatus = 200;
  nowMs = 1_800_000_000_000;
  reply: () => Response = () => Response.json({ answered: true });
  readonly #keys: CryptoKeyPair;
  readonly #jwk: Record<string, unknown>;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  private constructor(keys: CryptoKeyPair, jwk: Record<string, unknown>) {
    this.#keys = keys;
    this.#jwk = jwk;
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      return this.#answer(request);
    });
  }

  static async open(): Promise<Project> {
    const keys = await generateKeyPair("ES256", { extractable: true });
    const jwk = { ...await exportJWK(keys.publicKey), kid: "first", alg: "ES256", use: "sig" };
    return new Project(keys, jwk);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  async close(): Promise<void> {
    await this.#server.shutdown();
  }

  env(more: Record<string, string> = {}): Env {
    return createEnv({
      SUPABASE_URL: this.url,
      SUPABASE_SECRET_KEY: SECRET,
      SUPABASE_PUBLISHABLE_KEY: PUBLISHABLE,
      KLINE_SERVER_URL: this.url,
      KLINE_SERVER_API_KEY: "key-of-the-server",
      ALLOWED_ORIGINS: `${ORIGIN}, https://other.example`,
      ...more,
    }, () => this.nowMs);
  }

  async token(claims: Record<string, unknown> = {}, kid = "first"): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    return await new SignJWT({
      iss: `${this.url}/auth/v1`,
      aud: "authenticated",
      role: "authenticated",
      sub: USER,
      exp: now + 600,
      ...claims,
    }).setProtectedHeader({ alg: "ES256", kid }).sign(this.#keys.privateKey);
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/auth/v1/.well-known/jwks.json") {
      return Response.json({ keys: [this.#jwk] }, { status: this.keysStatus });
    }
    if (pathname === "/rest/v1/user_tiers") {
      this.tierReads += 1;
      return Response.json(this.tierRows, { status: this.tierStatus });
    }
    this.seen.push({ path: pathname, headers: request.headers, body: await request.json() });
    return this.reply();
  }
}

/** A test with a project of its own. */
export function withProject(name: string, run: (project: Project) => Promise<void>): void {
  Deno.test(name, async () => {
    const project = await Project.open();
    try {
      await run(project);
    } finally {
      await project.close();
    }
  });
}

export async function call(
  handler: Handler,
  env: Env,
  body: unknown,
  headers: Record<string, string> = {},
  method = "POST",
): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> {
  const sent = typeof body === "string" ? body : JSON.stringify(body);
  const response = await handler(
    new Request("http://functions.test/", {
      method,
      headers: { "content-type": "application/json", ...headers },
      ...(method === "GET" || method === "OPTIONS" ? {} : { body: sent }),
    }),
    env,
  );
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: text === "" ? {} : JSON.parse(text),
  };
}
