/** The list of the tracks of this visit. */

import * as player from "./player.js";
import { draw } from "./waveform.js";

const list = document.getElementById("history");
const template = document.getElementById("track");
let formats = []; // of downloads: [{ name, label, extension }]
const filling = []; // functions that offer the formats, one for each track

/** Offers these formats for download. offered: [{ name, label, extension }] */
export function offer(offered) {
  formats = offered;
  for (const fill of filling) fill();
}

/** Reserves a place at the top, for a track that is being made. */
export function reserve() {
  const place = document.createElement("li");
  place.hidden = true;
  list.prepend(place);
  return place;
}

/**
 * Adds a track.
 * track: { fields, model, seed, license, file, samples, sampleRate, channels, durationS, generationS, costUsd,
 *   isRepeatable: false where the page lacks its melody, ending: why it ended early, or null }
 * actions: { again(track), more(track), download(track, format) }
 * place: a reserved one, "top" or "end"
 */
export function add(track, actions, place) {
  document.getElementById("empty").hidden = true;
  const item = template.content.firstElementChild.cloneNode(true);
  const name = track.fields.prompt || "A melody";
  item.querySelector("h3").textContent = name;
  item.querySelector(".facts").textContent = facts(track);
  hear(item.querySelector("audio"), track, name);
  for (const action of ["again", "more"]) {
    const button = item.querySelector(`[data-action=${action}]`);
    button.onclick = () => actions[action](track);
    button.disabled = !track.isRepeatable || track.seed === null;
  }
  const fill = () => item.querySelector(".downloads").replaceChildren(...formats.map(link));
  const link = (format) => downloadButton(format, () => actions.download(track, format));
  filling.push(fill);
  fill();
  put(item, place);
  const canvas = item.querySelector("canvas");
  canvas.setAttribute("aria-label", `Waveform of ${track.durationS.toFixed(1)} seconds`);
  draw(canvas, track.samples);
}

function put(item, place) {
  if (place === "top") list.prepend(item);
  else if (place === "end") list.append(item);
  else place.replaceWith(item);
}

function hear(audio, track, name) {
  const sound = { isLive: false, stop: () => audio.pause() };
  audio.src = URL.createObjectURL(track.file);
  audio.setAttribute("aria-label", name);
  audio.onplay = () => player.begin(sound);
  audio.onpause = audio.onended = () => player.end(sound);
}

function downloadButton({ name, label }, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.dataset.format = name;
  button.setAttribute("aria-label", `Download as ${label}`);
  button.onclick = act;
  return button;
}

function facts(track) {
  const cost = track.costUsd === null ? [] : [`$${track.costUsd.toFixed(5)}`];
  const made = `${track.durationS.toFixed(1)} s of audio in ${track.generationS.toFixed(1)} s`;
  const seed = track.seed === null ? [] : [`seed ${track.seed}`];
  const ending = track.ending ? [track.ending] : [];
  return [...ending, made, track.model, ...seed, ...cost, `weights: ${track.license}`].join(" · ");
}
