/** The served models, and the one that is chosen. */

import * as client from "./client.js";
import * as melody from "./melody.js";

const LEADS = {
  music: "Describe the music: genre, mood, instruments, tempo.",
  audio: "Describe the sound: its sources, what they do, the place.",
};
const DEFAULT_LONGEST_S = 30;

const $ = (id) => document.getElementById(id);
let served = [];

export async function load() {
  served = await client.models();
  $("model").replaceChildren(...served.map((model) => new Option(model.id, model.id)));
  if (served.length > 1) $("model").append(new Option("auto: the largest that takes at most 60 s", "auto"));
  show();
}

export function areLoaded() {
  return served.length > 0;
}

/** Chooses a model, if it is served. */
export function choose(id) {
  if (![...$("model").options].some((option) => option.value === id)) return;
  $("model").value = id;
  show();
}

function show() {
  const model = served.find((one) => one.id === $("model").value);
  melody.offer((model ? [model] : served).some((one) => one.capabilities.melody));
  $("duration").max = model?.max_duration_s ?? DEFAULT_LONGEST_S;
  $("lead").textContent = LEADS[model?.content ?? "music"];
  $("license").textContent = model ? `Licence of the weights of ${model.id}: ${model.license}.` : "";
}

$("model").onchange = show;
