/** Tracks with an id, where the service, the database or the user gets in between. */

import assert from "node:assert/strict";
import { Webhook } from "npm:standardwebhooks@1.1.1";
import { handle as cancelFor } from "../functions/cancel-music/handler.ts";
import { handle as generateFor } from "../functions/generate-music/handler.ts";
import { handle as webhookFor } from "../functions/music-webhook/handler.ts";
import { ID, post, SECRET, USER, within, type World } from "./world.ts";

const WEBHOOK_SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0";
const FILE = `${USER}/${ID}.mp3`;
const WANTED = { id: ID, customPrompt: "sea shanty", duration: 8 };

const generate = (world: World, request = post(WANTED)) =>
  generateFor(request, () => assert.fail(), () => world.project, world.env);

const cancel = (world: World, request: Request) => cancelFor(request, world.project, world.env);

/** Sends a message of the service about the job `j1`; it counts as a second delivery where it is one. */
function tell(world: World, job: Record<string, unknown>): Promise<Response> {
  const result = [{ url: `${world.url}/file`, type: "audio/mpeg" }];
  const body = JSON.stringify({
    type: "job",
    data: { id: "j1", progress: 0.5, result, metadata: { track_id: ID }, ...job },
  });
  const now = new Date();
  const headers = {
    "webhook-id": "m1",
    "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
    "webhook-signature": new Webhook(WEBHOOK_SECRET).sign("m1", now, body),
  };
  return send(world, new Request("http://function/", { method: "POST", headers, body }));
}

const send = (world: World, request: Request) =>
  webhookFor(
    request,
    world.project,
    (name) => name === "MUSICGEN_WEBHOOK_SECRET" ? WEBHOOK_SECRET : undefined,
  );

const status = (world: World) => world.rows.get(ID)?.status;

Deno.test("a refusal by the service ends the row as failed", () =>
  within(async (world) => {
    for (const code of [400, 404, 422]) {
      world.row();
      world.answers["POST /v1/jobs"] = () => Response.json({ detail: "Too loud" }, { status: code });
      assert.equal((await generate(world)).status, code === 404 ? 404 : 400);
      assert.deepEqual([status(world), world.rows.get(ID)?.error], ["failed", "Too loud"]);
    }
  }));

Deno.test("a key that the service refuses leaves the row to be sent again", () =>
  within(async (world) => {
    for (const code of [401, 403]) {
      world.row();
      world.answers["POST /v1/jobs"] = () => Response.json({ detail: "No" }, { status: code });
      const answer = await generate(world);
      assert.deepEqual([answer.status, status(world)], [500, "queued"]);
      await answer.body?.cancel();
      assert.equal((await generate(world, post({ resend: true }, SECRET))).status, 200);
      assert.equal(status(world), "queued");
    }
    delete world.answers["POST /v1/jobs"];
    await generate(world, post({ resend: true }, SECRET));
    assert.equal(world.rows.get(ID)?.job_id, "j1");
  }));

Deno.test("an answer that is not the service's leaves the row to be sent again", () =>
  within(async (world) => {
    world.row();
    world.answers["POST /v1/jobs"] = () => new Response("<html>");
    assert.deepEqual([(await generate(world)).status, status(world)], [202, "queued"]);
  }));

Deno.test("a database that fails once the job is accepted leaves the row to be sent again", () =>
  within(async (world) => {
    world.row();
    world.answers["PATCH /rest/v1/tracks"] = () => {
      delete world.answers["PATCH /rest/v1/tracks"];
      return Response.json({ message: "hiccup" }, { status: 500 });
    };
    assert.equal((await generate(world)).status, 503);
    assert.equal(status(world), "queued");
    await generate(world, post({ resend: true }, SECRET));
    assert.deepEqual([status(world), world.rows.get(ID)?.job_id], ["queued", "j1"]);
  }));

for (const code of [503, 404]) {
  Deno.test(`a track canceled while its job is sent is canceled, also if the service answers ${code}`, () =>
    within(async (world) => {
      const row = world.row();
      world.answers["POST /v1/jobs/j1/cancel"] = () => new Response(null, { status: code });
      world.answers["POST /v1/jobs"] = () => {
        row.status = "canceled";
        return Response.json({ id: "j1", status: "queued" });
      };
      const answer = await generate(world);
      assert.deepEqual([answer.status, (await answer.json()).status], [202, "canceled"]);
      assert(world.calls.includes("POST /v1/jobs/j1/cancel"));
      assert.equal(status(world), "canceled");
    }));
}

Deno.test("the database's limit is 429", () =>
  within(async (world) => {
    world.answers["POST /rest/v1/tracks"] = () =>
      Response.json({ code: "PT429", message: "Ten of your tracks are unfinished" }, { status: 429 });
    const answer = await generate(world);
    assert.deepEqual([answer.status, answer.headers.get("retry-after")], [429, "30"]);
    assert.equal((await answer.json()).error, "Too many tracks");
  }));

Deno.test("the finished file is stored", () =>
  within(async (world) => {
    world.row({ status: "running", job_id: "j1" });
    assert.equal((await tell(world, { status: "succeeded" })).status, 200);
    assert.deepEqual([...world.files], [[FILE, "music"]]);
    assert.deepEqual([status(world), world.rows.get(ID)?.path], ["ready", FILE]);
  }));

for (const change of ["deleted", "canceled"] as const) {
  Deno.test(`no file stays of a track that is ${change} while the file is fetched`, () =>
    within(async (world) => {
      const row = world.row({ status: "running", job_id: "j1" });
      world.answers["GET /file"] = () => {
        if (change === "deleted") world.rows.delete(ID);
        else row.status = "canceled";
        return new Response("music");
      };
      assert.equal((await tell(world, { status: "succeeded" })).status, 200);
      assert(world.calls.includes(`POST /storage/v1/object/tracks/${FILE}`), "it was stored first");
      assert.deepEqual([...world.files], []);
    }));
}

Deno.test("the same message, delivered twice at once, keeps the file", () =>
  within(async (world) => {
    world.row({ status: "running", job_id: "j1" });
    const both = Promise.withResolvers<void>();
    let count = 0;
    world.answers["GET /file"] = async () => {
      if (++count === 2) both.resolve();
      await both.promise;
      return new Response("music");
    };
    await Promise.all([tell(world, { status: "succeeded" }), tell(world, { status: "succeeded" })]);
    assert.deepEqual([[...world.files.keys()], status(world)], [[FILE], "ready"]);
  }));

Deno.test("progress also tells the job of a row that lacks it", () =>
  within(async (world) => {
    world.row();
    await tell(world, { status: "running" });
    const { job_id, progress } = world.rows.get(ID)!;
    assert.deepEqual([status(world), progress, job_id], ["running", 0.5, "j1"]);
  }));

Deno.test("a message without an end is read up to 64 KB", () =>
  within(async (world) => {
    let read = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        read += 16_384;
        controller.enqueue(new Uint8Array(16_384));
      },
    });
    const answer = await send(world, new Request("http://function/", { method: "POST", body }));
    assert.deepEqual([answer.status, (await answer.json()).details], [400, "body: longer than 65536 bytes"]);
    assert(read < 200_000, `${read} bytes`);
  }));

Deno.test("the database cancels the job of a deleted row, with the secret key alone", () =>
  within(async (world) => {
    const answer = await cancel(world, post({ job_id: "j1" }, SECRET));
    assert.deepEqual(await answer.json(), { success: true, job_id: "j1", status: "canceled" });
    const calls = world.calls.length;
    assert.equal((await cancel(world, post({ job_id: "j1" }))).status, 401);
    assert.equal(world.calls.length, calls, "nobody was asked");
  }));

Deno.test("a user cancels a track whose job the service knows no more", () =>
  within(async (world) => {
    world.row({ status: "running", job_id: "j9" });
    const answer = await cancel(world, post({ id: ID }));
    assert.deepEqual([answer.status, status(world)], [200, "canceled"]);
  }));
