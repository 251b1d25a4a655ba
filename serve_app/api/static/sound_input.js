/** A sound of the user's: a file or a recording, trimmed, that a track continues or whose melody it follows. */

import * as recorder from "./recorder.js";
import { SoundTrimmer } from "./sound_trimmer.js";
import * as wav from "./wav.js";

const RATE = 32_000; // of trimmed files, in Hz: the models'
const NONE = "None: the track is made from the prompt alone.";

const $ = (id) => document.getElementById(id);
const trimmer = new SoundTrimmer();
let chosen = null; // { name, base64, decoded: AudioBuffer or null }
let reading = Promise.resolve(); // until the chosen file has been read

/** Offers the melody where the chosen model takes one. */
export function offer(takesMelody) {
  const wasOffered = !$("use-melody").disabled;
  $("use-melody").disabled = !takesMelody;
  $("use-melody-box").hidden = !takesMelody;
  if (takesMelody && !wasOffered) $("use-melody").checked = true;
  if (!takesMelody) $("use-beginning").checked = true;
  draw();
}

/** The field of a request that holds the sound, once it is read: {} without one. Ends a recording. */
export async function fields() {
  await recorder.finish();
  await reading;
  if (chosen === null) return {};
  const name = $("use-melody").checked ? "melody" : "audio_prompt";
  return { [name]: trimmer.isTrimmed() ? await trimmed() : chosen.base64 };
}

/** The name of the field that holds the sound; null: there is none. */
export function use() {
  if (chosen === null) return null;
  return $("use-melody").checked ? "melody" : "audio_prompt";
}

/** Chooses the sound of an earlier track. fields: of its request */
export function restore({ melody, audio_prompt: beginning }) {
  const base64 = melody ?? beginning ?? null;
  if (base64 === null) return choose(null);
  $(melody ? "use-melody" : "use-beginning").checked = true;
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return take(new Blob([bytes]), melody ? "The melody of the track" : "The beginning of the track");
}

function trimmed() {
  const { from, to } = trimmer.ends();
  const { samples, channels } = wav.interleave(chosen.decoded, from, to);
  return base64Of(wav.encode(samples, chosen.decoded.sampleRate, channels));
}

function choose(sound) {
  chosen = sound;
  $("sound").value = "";
  trimmer.show(sound?.decoded ?? null);
  draw();
}

function draw() {
  $("sound-name").textContent = chosen?.name ?? NONE;
  $("sound-remove").hidden = $("sound-use").hidden = chosen === null;
  $("sound-record").textContent = recorder.isRecording() ? "Stop" : "Record";
  $("prompt").required = chosen === null;
  document.dispatchEvent(new Event("settings"));
}

/** Reads a sound and chooses it. */
function take(blob, name) {
  reading = read(blob, name).catch((error) => {
    choose(null);
    $("sound-name").textContent = `${name} cannot be read: ${error.message}`;
  });
  return reading;
}

async function read(blob, name) {
  const base64 = await base64Of(blob);
  const decoded = await decode(await blob.arrayBuffer());
  choose({ name, base64, decoded });
}

/** Decodes a sound; null for a format that this browser does not know, which the service may. */
function decode(bytes) {
  return new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes).catch(() => null);
}

function base64Of(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

async function record() {
  if (recorder.isRecording()) return recorder.finish();
  try {
    const tell = (seconds) => $("sound-name").textContent = `Recording … ${seconds} s`;
    await recorder.start((blob) => take(blob, "Your recording"), tell);
    draw();
    tell(0);
  } catch (error) {
    $("sound-name").textContent = `The microphone cannot be used: ${error.message}`;
  }
}

$("sound").onchange = (event) => {
  const [file] = event.target.files;
  if (file) take(file, file.name);
};
$("sound-remove").onclick = () => choose(null);
$("sound-record").onclick = record;
$("sound-record").hidden = !recorder.canRecord;
