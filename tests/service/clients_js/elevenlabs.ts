// Calls the service at the URL of its argument with ElevenLabs' own client; prints what came back.
import { ElevenLabsClient, ElevenLabsError } from "@elevenlabs/elevenlabs-js";

const [url] = Deno.args;
const client = new ElevenLabsClient({ apiKey: "none", baseUrl: url, maxRetries: 0 });

async function size(stream: ReadableStream<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const part of stream) bytes += part.length;
  return bytes;
}

const request = { prompt: "lofi beat", musicLengthMs: 3000, modelId: "music_v1" } as const;
const composed = await client.music.compose({ ...request, outputFormat: "pcm_32000" });
const streamed = await client.music.stream({ ...request, outputFormat: "pcm_32000" });
// Its types say a stream; its wrapper returns the parts.
interface Parts {
  audio: Uint8Array;
  filename: string;
  json: { songMetadata: { description: string } };
  songId?: string;
}
const parts: unknown = await client.music.composeDetailed({ ...request, outputFormat: "pcm_32000" });
const detailed = parts as Parts;
const sound = await client.textToSoundEffects.convert({
  text: "rain",
  durationSeconds: 1,
  outputFormat: "pcm_32000",
});
const models = await client.models.list();
const answer = {
  models: models.map(({ modelId }) => modelId),
  composed: await size(composed),
  streamed: await size(streamed),
  sound: await size(sound),
  detailed: detailed.audio.length,
  filename: detailed.filename,
  description: detailed.json.songMetadata.description,
  songId: detailed.songId ?? "",
};

const refusals: Record<string, unknown> = {};
const plan = { positiveGlobalStyles: [], negativeGlobalStyles: [], sections: [] };
const calls = {
  output_format: () => client.music.compose({ ...request, outputFormat: "ulaw_8000" }),
  composition_plan: () => client.music.compose({ compositionPlan: plan }),
  plan: () => client.music.compositionPlan.create({ prompt: "lofi" }),
};
for (const [name, call] of Object.entries(calls)) {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof ElevenLabsError)) throw error;
    refusals[name] = [error.statusCode, error.body];
  }
}
console.log("ANSWER " + JSON.stringify({ ...answer, refusals }));
