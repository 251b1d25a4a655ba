/** The served models: the choice of one, and a card for each. */

import * as client from "./client.js";
import * as sound from "./sound_input.js";

const LEADS = {
  music: "Describe the music: genre, mood, instruments, tempo.",
  audio: "Describe the sound: its sources, what they do, the place.",
};
const DEFAULT_LONGEST_S = 30;
const WINDOWS_S = { music: 30, audio: 10 }; // a beginning is shorter
const FRAME_RATE = 50; // frames per second of MusicGen's codec

const $ = (id) => document.getElementById(id);
let served = [];

export async function load() {
  served = await client.models();
  $("model").replaceChildren(...served.map((model) => new Option(model.id, model.id)));
  if (served.length > 1) $("model").append(new Option("auto: the largest that takes at most 60 s", "auto"));
  show();
  $("models").replaceChildren(...served.map(card));
  measure();
}

export function areLoaded() {
  return served.length > 0;
}

/** Seconds of the longest track of a model. */
export function longestS(id) {
  return served.find((one) => one.id === id)?.max_duration_s ?? DEFAULT_LONGEST_S;
}

/** Chooses a model, if it is served. Returns whether it is. */
export function choose(id) {
  const isServed = [...$("model").options].some((option) => option.value === id);
  if (!isServed) return false;
  $("model").value = id;
  show();
  return true;
}

function chosen() {
  return served.find((one) => one.id === $("model").value);
}

function show() {
  const model = chosen();
  const takesMelody = (model ? [model] : served).some((one) => one.capabilities.melody);
  sound.offer(takesMelody, WINDOWS_S[model?.content ?? "music"]);
  $("duration").max = longestS($("model").value);
  $("lead").textContent = LEADS[model?.content ?? "music"];
  $("license").textContent = model ? `Licence of the weights of ${model.id}: ${model.license}.` : "";
}

function card(model) {
  const item = $("model-card").content.firstElementChild.cloneNode(true);
  item.dataset.model = model.id;
  item.querySelector("h2").textContent = model.id;
  item.querySelector(".facts").textContent = model.source;
  item.querySelector("ul").replaceChildren(...capabilities(model).map((text) => element("li", text)));
  item.querySelector(".license").textContent = licence(model.license);
  item.querySelector("button").onclick = () => {
    choose(model.id);
    $("prompt").focus();
  };
  return item;
}

function capabilities({ capabilities: can, content, channels, sample_rate: rate }) {
  return [
    can.text && (content === "audio" ? "sounds from text" : "music from text"),
    can.continuation && "continues a sound",
    can.melody && "follows a melody",
    can.max_duration_s && `up to ${can.max_duration_s} s`,
    channels && (channels === 2 ? "stereo" : "mono"),
    rate && `${rate / 1000} kHz`,
  ].filter(Boolean);
}

function licence(name) {
  const isNonCommercial = /\bNC\b/.test(name.replaceAll("-", " "));
  return `Weights: ${name}${isNonCommercial ? ", not for commercial use" : ""}`;
}

/** Tells the measured speed of each model. A service that keeps its statistics to itself shows none. */
async function measure() {
  const stats = await client.stats().catch(() => null);
  for (const item of $("models").children) {
    item.querySelector(".speed").textContent = speed(stats?.models[item.dataset.model] ?? null);
  }
}

function speed(replicas) {
  if (replicas === null) return "Speed: unknown";
  if (replicas.length === 0) return "No replica is running: the first track waits for one";
  const stepS = Math.min(...replicas.map((one) => one.lone_pace_s || one.step_s || Infinity));
  if (stepS === Infinity) return "Speed: measured with the first track";
  return `Speed: ${(1 / (FRAME_RATE * stepS)).toFixed(1)} s of sound a second`;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

$("model").onchange = show;
$("models").closest("details").ontoggle = measure; // the speed since
