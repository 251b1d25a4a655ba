/** The tracks of the page: made, kept in the browser, repeated, varied, extended, shared and deleted. */

import * as clipboard from "./clipboard.js";
import { download } from "./download.js";
import { extension, joined } from "./extension.js";
import * as history from "./history.js";
import * as inputs from "./inputs.js";
import * as jobs from "./jobs.js";
import { addressOf } from "./link.js";
import { EndedEarly, make } from "./making.js";
import * as models from "./models.js";
import * as notice from "./notice.js";
import * as now from "./now.js";
import * as settings from "./settings.js";
import * as store from "./track_store.js";
import { fail, work } from "./tasks.js";
import { peaksOf } from "./waveform.js";
import * as words from "./words.js";

const VARIATIONS = 3;
const actions = {
  again: (track) => again(track).catch(fail),
  download: (...of) => download(...of).catch(fail),
  ...{ more, extend, link, favour, remove },
};

/** Shows the tracks of earlier visits. Returns the ids of the jobs that made some of them. */
export async function showKept() {
  const kept = await store.all().catch(untold);
  for (const track of kept ?? []) history.add(track, actions, "end");
  return (kept ?? []).map((track) => track.jobId).filter(Boolean);
}

/** Makes a track, which is heard meanwhile, and keeps it. */
export function makeHere(wanted, task) {
  const tell = (status, fraction) => now.tell(task, status, fraction);
  return keepMade(wanted, { signal: task.signal, tell, isHeard: true }, "top");
}

/** Adds a track to the list and to the browser's store. made: its facts, as the service told them */
export function keep(
  wanted,
  made,
  { file, samples, isRepeatable = true, ending = null, jobId = null, live = null },
  place,
) {
  const track = {
    id: crypto.getRandomValues(new Uint32Array(3)).join("-"),
    createdAt: Date.now(),
    fields: wanted,
    model: made.model ?? wanted.model,
    seed: made.seed ?? wanted.seed ?? null,
    license: made.license,
    file,
    peaks: peaksOf(samples),
    durationS: made.duration_s,
    generationS: made.generation_s,
    costUsd: made.cost_usd,
    isFavourite: false,
    isRepeatable,
    ending,
    jobId,
  };
  history.add(track, actions, place, live);
  save(track);
}

/**
 * Makes a track and keeps it, also what was heard of one that ends early. finish(made, file): adds what precedes it;
 * knownS: seconds of its beginning that there are already
 */
async function keepMade(wanted, how, place, { finish = (made, file) => ({ made, file }), knownS = 0 } = {}) {
  try {
    const { made, ...file } = await make(wanted, how);
    const whole = await finish(made, file);
    keep(wanted, whole.made, whole.file, place);
  } catch (error) {
    if (!(error instanceof EndedEarly)) throw error;
    if (!how.isHeard || error.track.made.duration_s <= knownS) throw error.cause;
    const { made, ...file } = error.track;
    const whole = await finish(made, file);
    const ending = words.ofPart(whole.made.duration_s, error.cause);
    keep(wanted, whole.made, { ...whole.file, ending }, place);
    throw error.cause;
  }
}

/** Keeps a track in the browser. */
async function save(track) {
  settle(track, await store.put(track).catch(untold));
}

/** Marks a track as kept; those that made room for it leave for good. removed: as `put` returns, undefined: not kept */
function settle(track, removed) {
  if (removed) history.markKept(track.id);
  for (const { id, jobId } of removed ?? []) {
    if (jobId) jobs.forget(jobId);
    history.remove(id)?.remove();
  }
}

/** A browser that keeps nothing, as in a private window: the tracks live as long as the page. */
function untold(error) {
  notice.show(`This browser keeps no tracks for the next visit: ${error.message}`);
}

async function again(track) {
  await inputs.load();
  const isServed = await settings.restore({ ...track.fields, model: track.model, seed: track.seed });
  if (!isServed) return notice.show(`The model of this track is not served here: ${track.model}. Choose another.`);
  document.getElementById("form").requestSubmit();
}

function more(track) {
  work(`Making ${VARIATIONS} variations`, (task) => vary(track, task));
}

/** Makes variations side by side; their progress is that of all. */
async function vary(track, task) {
  const places = Array.from({ length: VARIATIONS }, history.reserve).reverse();
  const fractions = Array(VARIATIONS).fill(0);
  const one = (place, number) => {
    const tell = (status, fraction) => {
      fractions[number] = fraction ?? 0;
      const done = fractions.reduce((sum, part) => sum + part, 0) / VARIATIONS;
      now.tell(task, `Variation ${number + 1} of ${VARIATIONS}. ${status}`, done);
    };
    const wanted = { ...track.fields, seed: track.seed + 1 + number };
    const how = { signal: task.signal, tell, isHeard: false };
    return keepMade(wanted, how, place).finally(() => place.remove());
  };
  const ends = await Promise.allSettled(places.map(one));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
}

function extend(track) {
  work("Extending the track", async (task) => {
    await inputs.load();
    const { wanted, head, tailS, ...rest } = await extension(track, models.longestS(track.model));
    const tell = (status, fraction) => now.tell(task, status, fraction);
    const finish = (made, file) => joined(head, rest, made, file);
    await keepMade(wanted, { signal: task.signal, tell, isHeard: true }, "top", { finish, knownS: tailS });
  });
}

async function link(track) {
  const address = addressOf({ ...track.fields, model: track.model, seed: track.seed });
  const isCopied = await clipboard.copy(address);
  const lacks = track.fields.melody || track.fields.audio_prompt ? " It lacks the sound of the track." : "";
  notice.show(isCopied ? `The link is copied.${lacks}` : address);
}

/** Marks a favourite; the browser is asked not to clear what it keeps. */
function favour(track) {
  if (track.isFavourite) navigator.storage?.persist();
  return save(track);
}

/** Deletes a track; for a while it can be brought back. The store comes first: a reload ends what it has not done. */
async function remove(track) {
  if (track.jobId) jobs.forget(track.jobId);
  await store.remove(track.id).catch(untold);
  const place = history.remove(track.id);
  if (!place) return; // a second click
  const undo = { label: "Undo", act: () => bringBack(track, place), lapse: () => place.remove() };
  notice.show("The track is deleted.", undo);
}

async function bringBack(track, place) {
  if (track.jobId) jobs.remember(track.jobId);
  const removed = await store.put(track).catch(untold);
  history.add(track, actions, place);
  settle(track, removed);
}
