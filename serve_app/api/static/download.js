/** Files of tracks, named by their prompts. */

import * as client from "./client.js";

const MOST_LETTERS = 60; // of a prompt in a file's name
const KEPT_MS = 60_000; // a download has begun by then

/** Downloads a track. format: { name, extension } */
export async function download(track, { name, extension }) {
  const file = name === "wav" ? track.file : await client.convert(track.file, name);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${stem(track)}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}

/** "Lofi beat, 80 bpm" and the seed 7 -> "lofi-beat-80-bpm-7" */
function stem({ fields, seed }) {
  const words = (fields.prompt || "melody").normalize("NFC").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["track"];
  const name = words.join("-").slice(0, MOST_LETTERS).replace(/-$/, "");
  return seed === null ? name : `${name}-${seed}`;
}
