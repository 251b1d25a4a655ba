/** A Supabase and a music service in one server: as much of both as the functions use for tracks with an id. */

import type { Project } from "../functions/_shared/caller.ts";
import type { Row } from "../functions/_shared/tracks.ts";

export const SECRET = "sb_secret_1";
export const TOKEN = "header.alice.signature";
export const ID = "3f2b8c5e-7d41-4a8e-9b6f-2c1d0e9a8b7c";
export const USER = "a7c1e2d3-0000-4000-8000-000000000001";

/** Answers of tests in place of the usual ones, by `METHOD /path` or a beginning of it. */
export type Answers = Record<string, () => Response | Promise<Response>>;

export class World {
  readonly rows = new Map<string, Row>();
  readonly files = new Map<string, string>();
  readonly calls: string[] = [];
  readonly jobs: Record<string, unknown>[] = [];
  readonly answers: Answers = {};
  url = "";

  readonly env = (name: string): string | undefined => ({ MUSICGEN_API_URL: this.url })[name];

  get project(): Project {
    return { url: this.url, keys: ["sb_publishable_1", SECRET], secretKeys: [SECRET] };
  }

  row(values: Partial<Row> = {}): Row {
    const request = { customPrompt: "sea shanty", model: "small", duration: 8 };
    const empty = { status: "queued", progress: 0, job_id: null, path: null, error: null } as const;
    const row = { id: ID, user_id: USER, request, prompt: "sea shanty", ...empty, ...values };
    this.rows.set(row.id, row);
    return row;
  }

  async answer(request: Request): Promise<Response> {
    const call = `${request.method} ${new URL(request.url).pathname}`;
    this.calls.push(call);
    for (const [start, answer] of Object.entries(this.answers)) {
      if (call.startsWith(start)) return await answer();
    }
    if (call.endsWith("/auth/v1/user")) return Response.json({ id: USER });
    if (call.endsWith("/rest/v1/tracks")) return await this.#table(request);
    if (call.includes("/storage/v1/object/tracks")) return await this.#storage(request);
    if (call === "POST /v1/jobs") {
      this.jobs.push(await request.json());
      return Response.json({ id: "j1", status: "queued" }, { status: 202 });
    }
    if (call === "POST /v1/jobs/j1/cancel") return Response.json({ id: "j1", status: "canceled" });
    if (call === "GET /file") return new Response("music");
    return new Response(null, { status: 404 });
  }

  async #table(request: Request): Promise<Response> {
    if (request.method === "POST") {
      const row = await request.json();
      if (this.rows.has(row.id)) return Response.json({ code: "23505", message: "taken" }, { status: 409 });
      this.row(row);
      return new Response(null, { status: 201 });
    }
    const found = this.#found(new URL(request.url).searchParams);
    if (request.method === "PATCH") {
      const values = await request.json();
      for (const row of found) Object.assign(row, values);
    }
    return Response.json(found);
  }

  #found(query: URLSearchParams): Row[] {
    const id = query.get("id")?.slice("eq.".length);
    const status = query.get("status");
    const isUnsent = query.get("job_id") === "is.null";
    return [...this.rows.values()].filter((row) =>
      (id === undefined || row.id === id) && (status === null || status.includes(row.status)) &&
      !(isUnsent && row.job_id !== null)
    );
  }

  async #storage(request: Request): Promise<Response> {
    if (request.method === "DELETE") {
      for (const path of (await request.json()).prefixes) this.files.delete(path);
      return Response.json([]);
    }
    const path = decodeURIComponent(new URL(request.url).pathname.replace("/storage/v1/object/tracks/", ""));
    if (request.method === "GET") {
      const file = this.files.get(path);
      return file === undefined
        ? Response.json({ statusCode: "404", error: "not_found", message: "Object not found" }, {
          status: 400,
        })
        : new Response(file);
    }
    this.files.set(path, await request.text());
    return Response.json({ Key: path, Id: "1" });
  }
}

/** Runs a test in a world of its own. */
export async function within(test: (world: World) => Promise<void>): Promise<void> {
  const world = new World();
  const options = { port: 0, hostname: "127.0.0.1", onListen: () => {} };
  const server = Deno.serve(options, (request) => world.answer(request));
  world.url = `http://127.0.0.1:${server.addr.port}`;
  try {
    await test(world);
  } finally {
    await server.shutdown();
  }
}

/** A call of a page, as its signed-in user, or with the secret key. */
export function post(body: unknown, key = "sb_publishable_1"): Request {
  const headers: Record<string, string> = { apikey: key };
  if (key !== SECRET) headers.authorization = `Bearer ${TOKEN}`;
  return new Request("http://function/", { method: "POST", headers, body: JSON.stringify(body) });
}
