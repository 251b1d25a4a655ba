/** The page: the form, the tracks being made, and the finished ones. */

import * as client from "./client.js";
import { download } from "./download.js";
import "./examples.js";
import * as history from "./history.js";
import { NO_JOBS } from "./jobs.js";
import { LongTracks } from "./long_tracks.js";
import { EndedEarly, make } from "./making.js";
import * as models from "./models.js";
import * as now from "./now.js";
import * as parameters from "./parameters.js";
import * as player from "./player.js";
import * as settings from "./settings.js";
import * as words from "./words.js";

const VARIATIONS = 3;
const LONG_S = 30; // longer tracks are durable jobs, which survive a reload and a lost connection

const $ = (id) => document.getElementById(id);
const form = $("form");
let working = null; // the running task of the form
let loading = null; // promise of the sampling parameters and the formats
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
  longTracks.fields = parameters.samplingNames(api);
  settings.nameSampling(longTracks.fields);
  history.offer(parameters.formats(api));
}

/** Runs one task at a time, shows its errors, and lets the user cancel it. */
async function work(status, task) {
  if (working) return tellError("A track is being made. Cancel it, or wait until it is done.");
  working = now.begin(status);
  $("error").hidden = true;
  $("generate").setAttribute("aria-disabled", "true"); // `disabled` would take the focus away
  try {
    await task(working);
    now.end(working, "Done.");
  } catch (error) {
    now.end(working);
    fail(error);
  } finally {
    working = null;
    $("generate").removeAttribute("aria-disabled");
  }
}

function fail(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) askForKey();
  tellError(words.ofError(error));
  if (!(error instanceof client.ApiError)) console.error(error);
}

function tellError(sentence) {
  $("error").textContent = sentence;
  $("error").hidden = false;
}

function askForKey() {
  $("key-box").hidden = false;
  $("key").setAttribute("aria-invalid", String(client.hasKey()));
  $("key").focus();
}

/** Makes a track: a short one is heard while it is made. */
async function start(wanted, task) {
  if (wanted.duration_s <= LONG_S) return makeHere(wanted, task);
  try {
    await longTracks.make(wanted, task);
  } catch (error) {
    if (error.code !== NO_JOBS) throw error;
    await makeHere(wanted, task);
  }
}

function makeHere(wanted, task) {
  const tell = (status, fraction) => now.tell(task, status, fraction);
  return keepMade(wanted, { signal: task.signal, tell, isHeard: true }, "top");
}

/** Makes a track and keeps it, also what there is of one that ends early. */
async function keepMade(wanted, how, place) {
  try {
    const { made, ...file } = await make(wanted, how);
    keep(wanted, made, file, place);
  } catch (error) {
    if (!(error instanceof EndedEarly)) throw error;
    const { made, ...file } = error.track;
    keep(wanted, made, { ...file, ending: words.ofPart(made.duration_s, error.cause) }, place);
    throw error.cause;
  }
}

/** Makes variations side by side; their progress is that of all. */
async function vary(track, task) {
  const fractions = Array(VARIATIONS).fill(0);
  const one = (_, number) => {
    const tell = (status, fraction) => {
      fractions[number] = fraction ?? 0;
      const done = fractions.reduce((sum, part) => sum + part, 0) / VARIATIONS;
      now.tell(task, `Variation ${number + 1} of ${VARIATIONS}. ${status}`, done);
    };
    const wanted = { ...track.fields, seed: track.seed + 1 + number };
    const how = { signal: task.signal, tell, isHeard: false };
    return keepMade(wanted, how, places[number]).finally(() => places[number].remove());
  };
  const places = Array.from({ length: VARIATIONS }, history.reserve).reverse();
  const ends = await Promise.allSettled(Array.from({ length: VARIATIONS }, one));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
}

function keep(wanted, made, { file, samples, channels, sampleRate, isRepeatable = true, ending = null }, place) {
  const track = {
    fields: wanted,
    model: made.model ?? wanted.model,
    seed: made.seed ?? wanted.seed ?? null,
    license: made.license,
    file,
    samples,
    channels,
    sampleRate,
    durationS: made.duration_s,
    generationS: made.generation_s,
    costUsd: made.cost_usd,
    isRepeatable,
    ending,
  };
  const actions = { again, more, download: (one, format) => download(one, format).catch(fail) };
  history.add(track, actions, place);
}

function again(track) {
  settings.restore({ ...track.fields, model: track.model, seed: track.seed });
  form.requestSubmit();
}

function more(track) {
  work(`Making ${VARIATIONS} variations`, (task) => vary(track, task));
}

/** Takes the key, and looks again for what was refused without it. */
function enterKey() {
  client.saveKey($("key").value);
  $("error").hidden = true;
  $("key").removeAttribute("aria-invalid");
  if (!models.areLoaded()) models.load().catch(fail);
  longTracks.showEarlier();
}

form.onsubmit = (event) => {
  event.preventDefault();
  if ($("key").value) enterKey();
  work("Connecting", async (task) => {
    await loadParameters(); // without their names, the fields would lack the seed
    if (!models.areLoaded()) await models.load();
    await start(await settings.read(), task);
  });
};
$("key").onchange = enterKey;
$("earlier").onclick = () => {
  $("earlier").hidden = true;
  longTracks.showMore();
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  if (event.key === "Escape" && !now.cancel()) player.stop();
});
loadParameters().catch(fail);
models.load().catch(fail);
longTracks.showEarlier();
