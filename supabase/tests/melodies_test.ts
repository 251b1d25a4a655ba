/** Melodies of tracks, with and without an id. */

import assert from "node:assert/strict";
import { handle } from "../functions/generate-music/handler.ts";
import { settingsFrom } from "../functions/generate-music/service.ts";
import { ID, post, SECRET, USER, within, type World } from "./world.ts";

const PATH = `${USER}/melodies/hummed (1).m4a`;
const DATA_URL = "data:audio/wav;base64,UklGRg==";
const TRACK = { audio_base64: "UklGRg==", model: "small", duration: 8, format: "wav" };

const generate = (world: World, fields: Record<string, unknown>, key?: string) =>
  handle(
    post({ customPrompt: "sea shanty", duration: 8, ...fields }, key),
    () => settingsFrom(world.env),
    () => world.project,
    world.env,
  );

/** Calls the function without an id; returns its answer, and what it sent to `POST /`. */
async function made(world: World, fields: Record<string, unknown>, key?: string) {
  const sent: Record<string, unknown>[] = [];
  const answer = world.answer.bind(world);
  world.answer = async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/health/live") return new Response();
    if (pathname !== "/") return await answer(request);
    sent.push(await request.json());
    return Response.json(TRACK);
  };
  const response = await generate(world, fields, key);
  return { response, body: await response.json(), sent };
}

Deno.test("a data URL is passed through", () =>
  within(async (world) => {
    const { body, sent } = await made(world, { melody: DATA_URL });
    assert.equal(body.success, true);
    assert.equal(sent[0]?.melody_audio_base64, DATA_URL);
  }));

Deno.test("without a melody nothing is sent in its place", () =>
  within(async (world) => {
    const { sent } = await made(world, {});
    assert.equal("melody_audio_base64" in sent[0]!, false);
  }));

Deno.test("a file of the bucket is read as its user", () =>
  within(async (world) => {
    world.files.set(PATH, "RIFF");
    const { body, sent } = await made(world, { melody: PATH });
    assert.equal(body.success, true);
    assert.equal(sent[0]?.melody_audio_base64, "UklGRg==");
    assert.equal((await generate(world, { melody: PATH }, SECRET)).status, 401);
  }));

Deno.test("a file that is not there is named", () =>
  within(async (world) => {
    const { response, body, sent } = await made(world, { melody: PATH });
    assert.equal(response.status, 400);
    assert.match(body.details, /^melody: there is no file/);
    assert.deepEqual(sent, []);
  }));

Deno.test("a melody of more than 64 KiB is taken, and one beyond the limit is refused", () =>
  within(async (world) => {
    const large = `data:audio/wav;base64,${"A".repeat(1_000_000)}`;
    assert.equal((await made(world, { melody: large })).body.success, true);
    const { response, body } = await made(world, {
      melody: `data:audio/wav;base64,${"A".repeat(13_000_000)}`,
    });
    assert.deepEqual([response.status, body.details], [400, "body: longer than 12582912 bytes"]);
  }));

Deno.test("other texts are no melody", () =>
  within(async (world) => {
    for (const melody of ["https://elsewhere.example/a.wav", "../a.wav", `${USER}/../b/a.wav`, "a.wav", ""]) {
      const { response, body } = await made(world, { melody });
      assert.equal(response.status, 400);
      assert.match(body.details, /^melody: Must be a data URL/);
    }
  }));

Deno.test("the row of a track names its file, whose content the job gets", () =>
  within(async (world) => {
    world.files.set(PATH, "RIFF");
    const response = await generate(world, { id: ID, melody: PATH });
    assert.equal(response.status, 202, await response.text());
    assert.equal((world.rows.get(ID)?.request as { melody: string }).melody, PATH);
    assert.equal(world.jobs[0]?.melody, "UklGRg==");
  }));

Deno.test("a track with an id takes a file of its user alone", () =>
  within(async (world) => {
    for (
      const [melody, reason] of [[DATA_URL, /takes the path of a file/], [
        "someone/melodies/a.wav",
        /must be in the user's folder/,
      ]] as const
    ) {
      const response = await generate(world, { id: ID, melody });
      assert.equal(response.status, 400);
      assert.match((await response.json()).details, reason);
      assert.equal(world.rows.size, 0);
    }
  }));

Deno.test("a row that names another user's file is not sent", () =>
  within(async (world) => {
    world.files.set("someone/melodies/a.wav", "RIFF");
    world.row({ request: { customPrompt: "sea shanty", melody: "someone/melodies/a.wav" } });
    await generate(world, { resend: true }, SECRET);
    assert.deepEqual([world.jobs, world.rows.get(ID)?.status], [[], "failed"]);
  }));

Deno.test("a model that takes no melody ends the row as failed", () =>
  within(async (world) => {
    world.files.set(PATH, "RIFF");
    world.answers["POST /v1/jobs"] = () =>
      Response.json({ detail: "Model 'small' takes no melody." }, { status: 422 });
    const response = await generate(world, { id: ID, melody: PATH });
    assert.deepEqual([response.status, (await response.json()).details], [
      400,
      "Model 'small' takes no melody.",
    ]);
    assert.equal(world.rows.get(ID)?.status, "failed");
  }));
