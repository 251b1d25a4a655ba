/** Extension of a track: the model continues its end, and the page joins both. */

import * as base64 from "./base64.js";
import * as wav from "./wav.js";

const ADDED_S = 10;
const MOST_S = 30; // of a request
const MOST_TAIL_S = 20; // of the track, that the model hears

/**
 * What extends a track: the fields of the request, and of the track what comes before what the model hears, and the
 * seconds of the latter.
 * longestS: seconds of the longest track that its model makes
 */
export async function extension(track, longestS) {
  const file = wav.read(new Uint8Array(await track.file.arrayBuffer()));
  const { sampleRate, channels, samples } = file;
  const tailS = Math.min(track.durationS, MOST_TAIL_S, Math.max(1, Math.min(MOST_S, longestS) - ADDED_S));
  const cut = Math.max(0, Math.round(samples.length / channels - tailS * sampleRate)) * channels;
  const tail = wav.encode(samples.slice(cut), sampleRate, channels);
  const { melody: _, seed: __, ...fields } = track.fields;
  const wanted = {
    ...fields,
    model: track.model,
    duration_s: Math.round(10 * (tailS + ADDED_S)) / 10,
    audio_prompt: await base64.encode(tail),
  };
  return { wanted, head: samples.slice(0, cut), tailS, sampleRate, channels };
}

/** Puts the head of the track before the file that was made. A file of another rate stands alone. */
export function joined(head, { sampleRate, channels }, made, file) {
  if (head.length === 0 || file.sampleRate !== sampleRate || file.channels !== channels) return { made, file };
  const samples = wav.join([head, file.samples]);
  return {
    made: { ...made, duration_s: samples.length / channels / sampleRate },
    file: { ...file, samples, file: wav.write(file.header, samples), isRepeatable: false },
  };
}
