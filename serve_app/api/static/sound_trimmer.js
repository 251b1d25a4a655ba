/** Trimming of a sound: its waveform, the ends of the part that is used, and a button to hear that part. */

import * as player from "./player.js";
import * as waveform from "./waveform.js";
import * as wav from "./wav.js";

const LEAST_S = 0.1; // between the ends

const $ = (id) => document.getElementById(id);

export class SoundTrimmer {
  isLive = false;
  #sound = null; // AudioBuffer
  #peaks = null;
  #context = null; // while the part plays
  #isMoved = false; // an end, by the user
  #limitS = Infinity; // the part is shorter

  constructor() {
    for (const id of ["trim-from", "trim-to"]) $(id).oninput = () => this.#move(id);
    $("trim-listen").onclick = () => this.#context ? this.stop() : this.#listen();
    new ResizeObserver(() => this.#draw()).observe($("trim-wave"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Shows a sound; null: none, or one that this browser cannot decode, which is used as it is. */
  show(sound) {
    this.stop();
    this.#sound = sound;
    $("trim").hidden = sound === null;
    if (sound === null) return;
    this.#peaks = waveform.peaksOf(wav.interleave(sound, 0, sound.duration).samples);
    for (const id of ["trim-from", "trim-to"]) $(id).max = sound.duration.toFixed(2);
    this.#isMoved = false;
    this.fit(this.#limitS);
  }

  /** Uses the whole sound if it is shorter than `limitS`, else its end of half that length; the user's own part stays. */
  fit(limitS) {
    this.#limitS = limitS;
    if (this.#sound === null) return;
    if (!this.#isMoved) {
      const { duration } = this.#sound;
      $("trim-to").value = $("trim-to").max;
      $("trim-from").value = duration < limitS ? 0 : duration - limitS / 2;
    }
    this.#draw();
  }

  /** The part that is used, in seconds. */
  ends() {
    return { from: Number($("trim-from").value), to: Number($("trim-to").value) };
  }

  /** Whether a part is used: by value, since a range input writes its value without trailing zeros. */
  isTrimmed() {
    const { from, to } = this.ends();
    return this.#sound !== null && (from > 0 || to < Number($("trim-to").max));
  }

  stop() {
    this.#context?.close();
    this.#context = null;
    $("trim-listen").textContent = "Listen";
    player.end(this);
  }

  #move(id) {
    this.#isMoved = true;
    const { from, to } = this.ends();
    if (to - from < LEAST_S) $(id).value = id === "trim-from" ? Math.max(0, to - LEAST_S) : from + LEAST_S;
    this.#draw();
  }

  #listen() {
    const { from, to } = this.ends();
    player.begin(this);
    this.#context = new AudioContext();
    const source = this.#context.createBufferSource();
    source.buffer = this.#sound;
    source.connect(this.#context.destination);
    source.onended = () => this.stop();
    source.start(0, from, to - from);
    $("trim-listen").textContent = "Stop listening";
  }

  #draw() {
    if (this.#sound === null) return;
    const { from, to } = this.ends();
    const { duration } = this.#sound;
    const part = `${from.toFixed(1)} to ${to.toFixed(1)} s: ${(to - from).toFixed(1)} s are used`;
    $("trim-text").textContent = part + this.#warning(to - from);
    waveform.draw($("trim-wave"), this.#peaks, { from: from / duration, to: to / duration });
  }

  /** Tells what is too long to begin the track. */
  #warning(seconds) {
    if (seconds >= this.#limitS) return `: too long, the track needs less than ${this.#limitS} s`;
    return !this.#isMoved && this.#sound.duration >= this.#limitS ? ", since the whole is too long for the track" : "";
  }
}
