/** A sound of the user's: a file or a recording, trimmed, that a track continues or whose melody it follows. */

import * as base64 from "./base64.js";
import * as recorder from "./recorder.js";
import { SoundTrimmer } from "./sound_trimmer.js";
import * as wav from "./wav.js";

const RATE = 32_000; // of trimmed files, in Hz: the models'
const NONE = "None: the track is made from the prompt alone.";
const STEMS = { audio_prompt: "beginning", melody: "melody" }; // of files

const $ = (id) => document.getElementById(id);
const trimmer = new SoundTrimmer();
let windowS = Infinity; // seconds of music that the model has in view
let chosen = null; // { name, file: Blob, decoded: AudioBuffer or null }
let newest = Promise.resolve(); // until the newest choice has been read
let isAsking = false; // for the microphone

/** Offers the melody where the chosen model takes one. seconds: of music that it has in view */
export function offer(takesMelody, seconds) {
  windowS = seconds;
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
  for (let read = null; read !== newest; await read) read = newest;
  return chosen === null ? {} : { [use().field]: await base64.encode(content()) };
}

/** The field that holds the sound, and a name for its file; null: there is no sound. */
export function use() {
  if (chosen === null) return null;
  const field = $("use-melody").checked ? "melody" : "audio_prompt";
  return { field, file: `${STEMS[field]}${trimmer.isTrimmed() ? ".wav" : extensionOf(chosen)}` };
}

/** ".mp3" of a user's file, ".webm" of a recording, "" of an earlier track's sound. */
function extensionOf({ name, file }) {
  const type = file.type.match(/^audio\/([a-z0-9]+)/);
  return name.match(/\.[a-z0-9]+$/i)?.[0] ?? (type ? `.${type[1]}` : "");
}

/** The file that a request holds. */
export function content() {
  if (!trimmer.isTrimmed()) return chosen.file;
  const { from, to } = trimmer.ends();
  const { samples, channels } = wav.interleave(chosen.decoded, from, to);
  return wav.encode(samples, chosen.decoded.sampleRate, channels);
}

/** Chooses the sound of an earlier track. fields: of its request */
export function restore({ melody, audio_prompt: beginning }) {
  const encoded = melody ?? beginning ?? null;
  if (encoded === null) return choose(null);
  $(melody ? "use-melody" : "use-beginning").checked = true;
  return take(new Blob([base64.decode(encoded)]), melody ? "The melody of the track" : "The beginning of the track");
}

function choose(sound) {
  newest = Promise.resolve();
  show(sound);
}

function show(sound) {
  chosen = sound;
  $("sound").value = "";
  trimmer.show(sound?.decoded ?? null);
  draw();
}

function draw() {
  fit();
  $("sound-name").textContent = chosen?.name ?? NONE;
  $("sound-remove").hidden = $("sound-use").hidden = chosen === null;
  $("sound-record").textContent = recorder.isRecording() ? "Stop" : "Record";
  $("prompt").required = chosen === null;
  document.dispatchEvent(new Event("settings"));
}

/** Tells the trimmer how long the sound may be: a beginning is shorter than its track and than what the model views. */
function fit() {
  const isBeginning = $("use-beginning").checked;
  trimmer.fit(isBeginning ? Math.min(windowS, Number($("duration").value) || Infinity) : Infinity);
}

/** Reads a sound and chooses it, unless there is another choice meanwhile. */
function take(blob, name) {
  const reading = read(blob, name).then((sound) => {
    if (reading === newest) show(sound);
  }, (error) => {
    if (reading !== newest) return;
    show(null);
    $("sound-name").textContent = `${name} cannot be read: ${error.message}`;
  });
  newest = reading;
  return reading;
}

async function read(blob, name) {
  const bytes = await blob.arrayBuffer();
  const file = new Blob([bytes], { type: blob.type });
  return { name, file, decoded: await decode(bytes) };
}

/** Decodes a sound; null for a format that this browser does not know, which the service may. */
function decode(bytes) {
  return new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes).catch(() => null);
}

async function record() {
  if (recorder.isRecording()) return recorder.finish();
  if (isAsking) return;
  isAsking = true;
  try {
    const tell = (seconds) => $("sound-name").textContent = `Recording … ${seconds} s`;
    await recorder.start((blob) => take(blob, "Your recording"), tell);
    draw();
    tell(0);
  } catch (error) {
    $("sound-name").textContent = `The microphone cannot be used: ${error.message}`;
  } finally {
    isAsking = false;
  }
}

$("sound").onchange = (event) => {
  const [file] = event.target.files;
  if (file) take(file, file.name);
};
$("sound-remove").onclick = () => choose(null);
$("sound-record").onclick = record;
$("sound-record").hidden = !recorder.canRecord;
$("form").addEventListener("input", fit);
