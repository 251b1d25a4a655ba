// Calls the service at the URL of its argument with Hugging Face's own client; prints what came back.
import { InferenceClient } from "@huggingface/inference";

const [url] = Deno.args;
const client = new InferenceClient("", { endpointUrl: url });

const generation_parameters = { max_new_tokens: 50, min_new_tokens: 10, do_sample: true, use_cache: true };
const audio = await client.textToSpeech({
  inputs: "lofi beat",
  parameters: { generation_parameters: { ...generation_parameters, num_beams: 1, early_stopping: false } },
});
const bytes = audio instanceof Blob ? audio.size : -1;

let refusal = "";
try {
  await client.textToSpeech({ inputs: "lofi beat", parameters: { generation_parameters: { num_beams: 4 } } });
} catch (error) {
  refusal = JSON.stringify(error, ["message", "httpResponse", "status", "body", "error"]) + String(error);
}
console.log(JSON.stringify({ bytes, refused: refusal.includes("parameters.num_beams") }));
