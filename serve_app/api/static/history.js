/** The list of the tracks of this visit. */

import { draw } from "./waveform.js";

const list = document.getElementById("history");
const template = document.getElementById("track");

/** Offers these formats for download. formats: [{ name, label }] */
export function offer(formats) {
  const choice = template.content.querySelector("[data-action=download]");
  choice.append(...formats.map(({ name, label }) => new Option(label, name)));
}

/**
 * Adds a track, at the top.
 * track: { fields, model, seed, license, file, samples, sampleRate, channels, durationS, generationS, costUsd,
 *   isRepeatable: false where the page lacks its melody }
 * actions: { again(track), more(track), download(track, format) }; isEarlier: the track goes to the end
 */
export function add(track, actions, isEarlier = false) {
  document.getElementById("empty").hidden = true;
  const item = template.content.firstElementChild.cloneNode(true);
  item.querySelector("h3").textContent = track.fields.prompt || "A melody";
  item.querySelector(".facts").textContent = facts(track);
  item.querySelector("audio").src = URL.createObjectURL(track.file);
  item.querySelector("audio").setAttribute("aria-label", track.fields.prompt || "A melody");
  item.querySelector("[data-action=again]").onclick = () => actions.again(track);
  item.querySelector("[data-action=more]").onclick = () => actions.more(track);
  for (const action of ["again", "more"]) item.querySelector(`[data-action=${action}]`).disabled = !track.isRepeatable;
  item.querySelector("[data-action=download]").onchange = (event) => {
    const format = event.target.value;
    event.target.value = "";
    if (format) actions.download(track, format);
  };
  if (isEarlier) list.append(item);
  else list.prepend(item);
  const canvas = item.querySelector("canvas");
  canvas.setAttribute("aria-label", `Waveform of ${track.durationS.toFixed(1)} seconds`);
  draw(canvas, track.samples);
}

function facts(track) {
  const cost = track.costUsd === null ? [] : [`$${track.costUsd.toFixed(5)}`];
  const made = `${track.durationS.toFixed(1)} s of audio in ${track.generationS.toFixed(1)} s`;
  return [made, track.model, `seed ${track.seed}`, ...cost, `weights: ${track.license}`].join(" · ");
}
