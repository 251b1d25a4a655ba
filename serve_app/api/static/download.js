/** Files of tracks, named by their prompts. */

import * as client from "./client.js";
import * as now from "./now.js";

const MOST_LETTERS = 60; // of a prompt in a file's name
const KEPT_MS = 60_000; // a download has begun by then

/** Downloads a track. format: { name, label, extension } */
export async function download(track, format) {
  const file = format.name === "wav" ? track.file : await converted(track.file, format);
  save(file, `${stem(track)}.${format.extension}`);
}

/** Saves a file in the folder of the browser's downloads. */
export function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}

/** Converts a file by the service; meanwhile the page tells so, and Cancel ends it. */
async function converted(file, { name, label }) {
  const task = now.begin(`Converting to ${label}`, true);
  try {
    return await client.convert(file, name, task.signal);
  } finally {
    now.end(task);
  }
}

/** "Lofi beat, 80 bpm" and the seed 7 -> "lofi-beat-80-bpm-7" */
function stem({ fields, seed }) {
  const words = (fields.prompt || "melody").normalize("NFC").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["track"];
  const name = words.join("-").slice(0, MOST_LETTERS).replace(/-$/, "");
  return seed === null ? name : `${name}-${seed}`;
}
