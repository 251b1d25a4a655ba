// Calls the service at the URL of its argument with OpenAI's own client; prints what came back.
import OpenAI from "openai";

const [url] = Deno.args;
const client = new OpenAI({ apiKey: "none", baseURL: `${url}/v1`, maxRetries: 0 });
const more = { duration_s: 1, seed: 7 };

const models = [];
for await (const model of client.models.list()) models.push(model.id);
const retrieved = await client.models.retrieve("small");

const body = { model: "nano", input: "lofi beat", voice: "alloy", ...more } as const;
const wav = await client.audio.speech.create({ ...body, response_format: "wav" });
const bytes = (await wav.arrayBuffer()).byteLength;

const events = await client.audio.speech.create({ ...body, response_format: "pcm", stream_format: "sse" });
const types = (await events.text()).matchAll(/^data: {"type": "([a-z.]+)"/gm);

const refusals: Record<string, unknown> = {};
for (const refused of [{ speed: 2 }, { response_format: "aac" as const }, { model: "tts-1" }]) {
  try {
    await client.audio.speech.create({ ...body, ...refused });
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    refusals[Object.keys(refused)[0]] = [error.status, error.param, error.message];
  }
}
const ignored = wav.headers.get("x-musicgen-ignored");
console.log(
  JSON.stringify({
    models,
    id: retrieved.id,
    bytes,
    ignored,
    types: [...types].map((one) => one[1]),
    refusals,
  }),
);
