// Calls the service at the URL of its argument with Replicate's own client; prints what came back.
import Replicate, { FileOutput, Prediction, validateWebhook } from "replicate";
import { Webhook } from "standardwebhooks";

const [url] = Deno.args;
const client = new Replicate({ auth: "any", baseUrl: `${url}/v1` });
const model = "meta/musicgen";
const version = "671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb";
const input = { prompt: "lofi beat", duration: 1, seed: 7 };

async function size(output: unknown): Promise<number> {
  const file = (Array.isArray(output) ? output[0] : output) as FileOutput;
  return (await file.blob()).size;
}

const progress: string[] = [];
const ran = await client.run(model, { input });
const versioned = await client.run(`${model}:${version}`, { input });
const polled = await client.run(
  model,
  { input, wait: { mode: "poll", interval: 50 } },
  (prediction: Prediction) => progress.push(prediction.status),
);
const uploaded = await client.run(model, {
  input: { ...input, input_audio: new Blob([await Deno.readFile(Deno.args[1])]), continuation: true },
});

const created = await client.predictions.create({ model, input: { ...input, duration: 30 } });
await client.predictions.cancel(created.id);
const canceled = await client.wait(created, { interval: 50 });

const streamed: string[] = [];
for await (const event of client.stream(model, { input })) streamed.push(event.event);

let refusal = "";
try {
  await client.run(model, { input: { ...input, multi_band_diffusion: true } });
} catch (error) {
  refusal = String(error);
}

// A message as the service signs it, seen by the client's own check and by the specification's.
const { key } = await client.webhooks.default.secret.get();
let message: Request | undefined;
const received = new Promise<void>((resolve) => {
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: announce }, (request) => {
    message ??= new Request(request);
    return message.text().then((body) => {
      text = body;
      queueMicrotask(() => server.shutdown().then(resolve));
      return new Response(null, { status: 204 });
    });
  });
});
let text = "";
async function announce(address: Deno.NetAddr) {
  await client.predictions.create({
    model,
    input,
    webhook: `http://127.0.0.1:${address.port}/`,
    webhook_events_filter: ["completed"],
  });
}
await received;
const headers = Object.fromEntries(message!.headers);
const valid = await validateWebhook({
  id: headers["webhook-id"],
  timestamp: headers["webhook-timestamp"],
  signature: headers["webhook-signature"],
  body: text,
  secret: key,
});
const verified = new Webhook(key).verify(text, headers) as { status: string };

const page = await client.predictions.list();
console.log(JSON.stringify({
  sizes: [await size(ran), await size(versioned), await size(polled), await size(uploaded)],
  polled: progress.at(-1),
  canceled: canceled.status,
  streamed: [streamed.at(-2), streamed.at(-1)],
  refused: refusal.includes("multi_band_diffusion"),
  valid,
  verified: verified.status,
  listed: page.results.some((one) => one.id === created.id),
  model: (await client.models.get("meta", "musicgen")).name,
  models: (await client.models.list()).results.map((one) => `${one.owner}/${one.name}`),
}));
