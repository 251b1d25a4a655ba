/** The page: the form, the track being made, and the finished tracks. */

import * as client from "./client.js";
import "./examples.js";
import * as history from "./history.js";
import { NO_JOBS } from "./jobs.js";
import { LivePlayer } from "./live_player.js";
import { LongTracks } from "./long_tracks.js";
import * as melody from "./melody.js";
import * as now from "./now.js";
import * as parameters from "./parameters.js";
import * as wav from "./wav.js";

const VARIATIONS = 3;
const LONG_S = 30; // longer tracks are durable jobs, which survive a reload and a lost connection
const NOT_SIGNED = "format_not_signed"; // code of the error for streams of a service that sends signed files only

const $ = (id) => document.getElementById(id);
const form = $("form");
let working = null; // the running task of the form
const LEADS = {
  music: "Describe the music: genre, mood, instruments, tempo.",
  audio: "Describe the sound: its sources, what they do, the place.",
};
let served = []; // models
let sampling = []; // names of the sampling parameters
let loading = null; // promise of the sampling parameters and the formats
let extensions = {}; // of file names, by format
const longTracks = new LongTracks({
  load: loadParameters,
  keep,
  fail,
  offer: (hasMore) => $("earlier").hidden = !hasMore,
});

/** Loads the sampling parameters and the formats once; after a failure, again. */
function loadParameters() {
  loading ??= readParameters().catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

async function readParameters() {
  const api = await client.openapi();
  $("sampling").replaceChildren(...parameters.samplingInputs(api));
  parameters.bound($("seed"), api, "seed");
  sampling = longTracks.fields = parameters.samplingNames(api);
  const formats = parameters.formats(api);
  extensions = Object.fromEntries(formats.map(({ name, extension }) => [name, extension]));
  history.offer(formats);
}

async function loadModels() {
  served = await client.models();
  $("model").replaceChildren(...served.map((model) => new Option(model.id, model.id)));
  if (served.length > 1) $("model").append(new Option("auto: the largest that takes at most 60 s", "auto"));
  showModel();
}

function showModel() {
  const model = served.find((one) => one.id === $("model").value);
  melody.offer((model ? [model] : served).some((one) => one.capabilities.melody));
  $("duration").max = model?.max_duration_s ?? 30;
  $("lead").textContent = LEADS[model?.content ?? "music"];
  $("license").textContent = model ? `Licence of the weights of ${model.id}: ${model.license}.` : "";
}

async function fields() {
  const values = Object.fromEntries(new FormData(form));
  const wanted = { prompt: values.prompt.trim(), model: values.model || null };
  for (const name of ["duration_s", ...sampling]) {
    if (values[name] !== "") wanted[name] = Number(values[name]);
  }
  const tune = await melody.content();
  return tune === null ? wanted : { ...wanted, melody: tune };
}

/** Runs one task at a time, shows its errors, and lets the user cancel it. */
async function work(status, task) {
  if (working) return;
  working = now.begin(status);
  $("error").hidden = true;
  $("generate").disabled = true;
  try {
    await task(working.signal);
    now.end(working, "Done.");
  } catch (error) {
    now.end(working);
    fail(error);
  } finally {
    working = null;
    $("generate").disabled = false;
  }
}

function show(status, fraction) {
  now.tell(working, status, fraction);
}

function fail(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    $("key-box").hidden = false;
    $("key").focus();
  }
  const later = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
  const unreachable = "The service cannot be reached. Is it running?";
  $("error").textContent = error instanceof client.ApiError ? `${error.message}${later}` : unreachable;
  $("error").hidden = false;
  if (!(error instanceof client.ApiError)) console.error(error);
}

/** Makes a track: a short one is heard while it is made. */
async function start(wanted, signal) {
  if (wanted.duration_s <= LONG_S) return make(wanted, signal);
  try {
    await longTracks.make(wanted, working);
  } catch (error) {
    if (error.code !== NO_JOBS) throw error;
    await make(wanted, signal);
  }
}

async function make(wanted, signal) {
  const parts = [];
  let file = null; // header, sample rate and channels
  let player = null;
  let length = 0;
  const stop = () => player?.stop();
  signal.addEventListener("abort", stop);
  try {
    for await (const [name, data] of client.stream(wanted, signal)) {
      if (name === "progress") tell(data);
      if (name === "audio") {
        const bytes = client.bytesOf(data.audio);
        const samples = file ? wav.samplesOf(bytes) : (file = wav.read(bytes)).samples;
        player ??= new LivePlayer(file.sampleRate, file.channels);
        player.add(samples);
        parts.push(samples);
        length += samples.length;
      }
      if (name === "done") {
        const whole = joined(parts, length);
        return keep(wanted, data, { ...file, samples: whole, file: wav.write(file.header, whole) });
      }
    }
    throw new client.ApiError(502, "The service ended its answer too early. Try again.", null);
  } catch (error) {
    stop();
    if (error.code !== NOT_SIGNED) throw error;
    show("Making the track: it is sent when it is finished and signed", null);
    await makeWhole(wanted, 1, signal);
  }
}

function tell(progress) {
  const left = progress.remaining_s === null ? "" : `, about ${Math.ceil(progress.remaining_s)} s left`;
  if (progress.queue_position) show(`Waiting: number ${progress.queue_position} in the queue${left}`, null);
  else show(`Making the track: ${progress.audio_s.toFixed(1)} s${left}`, progress.fraction);
}

function joined(parts, length) {
  const whole = new Int16Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Makes tracks that are sent when they are finished, as the service made their files. */
async function makeWhole(wanted, count, signal) {
  for (const made of (await client.variations(wanted, count, signal)).reverse()) {
    const bytes = client.bytesOf(made.audio);
    keep({ ...wanted, seed: made.seed }, made, { ...wav.read(bytes), file: wav.blob(bytes) });
  }
}

function keep(wanted, made, { file, samples, channels, sampleRate, isRepeatable = true }, isEarlier = false) {
  const track = {
    fields: wanted,
    model: made.model,
    seed: made.seed,
    license: made.license,
    file,
    samples,
    channels,
    sampleRate,
    durationS: made.duration_s,
    generationS: made.generation_s,
    costUsd: made.cost_usd,
    isRepeatable,
  };
  history.add(track, { again, more, download }, isEarlier);
}

function again(track) {
  $("prompt").value = track.fields.prompt;
  $("seed").value = track.seed;
  melody.restore(track.fields.melody ?? null);
  form.requestSubmit();
}

function more(track) {
  const wanted = { ...track.fields, seed: track.seed + 1 };
  work(`Making ${VARIATIONS} variations`, (signal) => makeWhole(wanted, VARIATIONS, signal));
}

async function download(track, format) {
  try {
    const file = format === "wav" ? track.file : await client.convert(track.file, format);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = `musicgen-${track.seed}.${extensions[format]}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    fail(error);
  }
}

/** Takes the key, and looks again for what was refused without it. */
function enterKey() {
  client.saveKey($("key").value);
  $("error").hidden = true;
  if (!served.length) loadModels().catch(fail);
  longTracks.showEarlier();
}

form.onsubmit = (event) => {
  event.preventDefault();
  if ($("key").value) enterKey();
  work("Connecting", async (signal) => {
    await loadParameters(); // without their names, the fields would lack the seed
    if (!served.length) await loadModels();
    await start(await fields(), signal);
  });
};
$("key").onchange = enterKey;
$("model").onchange = showModel;
$("earlier").onclick = () => {
  $("earlier").hidden = true;
  longTracks.showMore();
};
loadParameters().catch(fail);
loadModels().catch(fail);
longTracks.showEarlier();
