/** Requests to the service. */

import * as storage from "./storage.js";

const KEY = "musicgen-key";

/** Refusal or failure of the service. code: its name in the API, or null. */
export class ApiError extends Error {
  constructor(status, detail, retryAfterS, code = null) {
    super(detail);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

export function saveKey(key) {
  storage.ofTab.set(KEY, key.trim());
}

/** Whether requests have a key. */
export function hasKey() {
  return Boolean(storage.ofTab.get(KEY));
}

/** Requests; one that is refused for its key is repeated with a key that was entered meanwhile. */
async function ask(path, options = {}) {
  const key = storage.ofTab.get(KEY);
  const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401 && key !== storage.ofTab.get(KEY)) return ask(path, options);
  throw error;
}

async function errorOf(response) {
  const body = await response.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : unexplained(response);
  const retryAfterS = Number(response.headers.get("retry-after")) || null;
  return new ApiError(response.status, detail, retryAfterS, body.code ?? null);
}

/** An answer without an explanation is a proxy's, or that of another program. */
function unexplained({ status, statusText }) {
  const answer = `${status}${statusText ? ` (${statusText})` : ""}`;
  if (status === 413) return `The request is larger than the service takes: a server answered ${answer}.`;
  if (status >= 500) return `The service does not answer now: the server before it said ${answer}. Try again later.`;
  return `The service refused the request without a reason: ${answer}.`;
}

function post(body, signal) {
  const headers = { "content-type": "application/json" };
  return ask("v1/audio/generations", { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** Lists the served models, the default first. */
export async function models() {
  return (await (await ask("v1/models")).json()).data;
}

/** Reads the OpenAPI document. */
export async function openapi() {
  return (await ask("openapi.json")).json();
}

/** Reads the state of every replica of every model. */
export async function stats() {
  return (await ask("stats", { headers: { accept: "application/json" } })).json();
}

/**
 * Makes a track. Yields [name, data] of each event: facts (headers of the answer), progress, audio (a part of a WAV
 * file in base64), done.
 */
export async function* stream(fields, signal) {
  const body = { ...fields, stream: true, stream_format: "sse", response_format: "wav" };
  const response = await post(body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    yield ["facts", factsOf(response.headers)];
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const [name, data] = parse(event);
        if (name === "error") throw new ApiError(data.status, data.detail, null, data.code ?? null);
        if (name) yield [name, data];
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function factsOf(headers) {
  const seed = headers.get("x-musicgen-seed");
  return {
    model: headers.get("x-musicgen-model"),
    seed: seed === null ? null : Number(seed),
    license: headers.get("x-musicgen-license"),
  };
}

function parse(event) {
  const field = (name) => event.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
  const data = field("data");
  return data === undefined ? [null, null] : [field("event"), JSON.parse(data)];
}

/** Makes `count` tracks with consecutive seeds, as WAV files in base64. */
export async function variations(fields, count, signal) {
  const response = await post({ ...fields, n: count, response_format: "json" }, signal);
  return (await response.json()).data;
}

/** Draws the key of a submission. */
export function idempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Makes a durable job of one track, as a WAV file; a repetition with the same key makes no second one. */
export async function submit(fields, key, signal) {
  const headers = { "content-type": "application/json", "idempotency-key": `"${key}"` };
  return (await ask("v1/jobs", { method: "POST", headers, body: JSON.stringify(fields), signal })).json();
}

/** Reads the state of a job; the answer comes at its end, or after `waitS` seconds. */
export async function job(id, waitS, signal) {
  return (await ask(`v1/jobs/${id}`, { headers: { prefer: `wait=${waitS}` }, signal })).json();
}

/** Fetches the file of a job that has succeeded. */
export async function jobFile(id) {
  return new Uint8Array(await (await ask(`v1/jobs/${id}/audio`)).arrayBuffer());
}

export function cancelJob(id) {
  return ask(`v1/jobs/${id}/cancel`, { method: "POST" });
}

/** Converts a WAV file to another format. */
export async function convert(wav, format, signal) {
  const body = new FormData();
  body.append("audio", wav, "track.wav");
  body.append("response_format", format);
  return (await ask("v1/audio/conversions", { method: "POST", body, signal })).blob();
}
