/** The player of a track: its waveform is the slider of the position. */

import * as player from "./player.js";
import * as spectrogram from "./spectrogram.js";
import { fail } from "./tasks.js";
import * as waveform from "./waveform.js";

const STEP_S = 1; // of an arrow key
const PAGE_PART = 0.1; // of the track, of a page key
const DARK = matchMedia("(prefers-color-scheme: dark)");
const LEAST_LOOP = 0.02; // a shorter drag is a click

export class TrackPlayer {
  isLive = false;
  redraw = () => this.draw();
  #loop = null; // { from, to } in seconds, while a part is repeated
  #live = null; // the sound of the track while it is heard as it was made, before the file plays
  #dragged = null; // fraction at which a drag began

  /** card: the element of the track; track: { file, peaks, durationS }; name: of the track */
  constructor(card, track, name) {
    const find = (selector) => card.querySelector(selector);
    Object.assign(this, { track, name });
    this.audio = find("audio");
    this.slider = find(".wave");
    this.canvas = find(".waveform");
    this.picture = find(".spectrogram");
    this.time = find(".time");
    this.buttons = { play: find("[data-action=play]"), loop: find("[data-action=loop]") };
    this.audio.src = this.address = URL.createObjectURL(track.file);
    this.slider.setAttribute("aria-valuemax", track.durationS.toFixed(2));
    this.#listen(find("[data-action=spectrogram]"));
    this.draw();
  }

  /** Pauses; another sound begins. */
  stop() {
    this.audio.pause();
  }

  /** Ends the sound, the live one as well, and frees the file. */
  close() {
    this.#live?.stop();
    this.#live = null;
    this.stop();
    this.observer.disconnect();
    DARK.removeEventListener("change", this.redraw);
    this.audio.removeAttribute("src");
    URL.revokeObjectURL(this.address);
  }

  /** Shows the position of the live sound, and goes on where it stops. */
  follow(live) {
    this.#live = live;
    this.#show("Pause");
    const frame = () => {
      if (this.#live === null) return;
      this.draw();
      if (live.isStopped) this.#endLive();
      else requestAnimationFrame(frame);
    };
    frame();
  }

  #endLive() {
    this.audio.currentTime = this.#at();
    this.#live = null;
    this.#show(this.audio.paused ? "Play" : "Pause");
  }

  toggle() {
    if (this.#live) return this.#live.stop();
    if (this.audio.paused) this.#play();
    else this.audio.pause();
  }

  #play() {
    this.audio.play().catch(fail); // which is silent about a pause before the sound begins
  }

  seek(seconds) {
    const isHeard = this.#live !== null;
    this.#live?.stop();
    if (isHeard) this.#endLive();
    this.audio.currentTime = Math.min(Math.max(0, seconds), this.track.durationS);
    if (isHeard) this.#play();
    this.draw();
  }

  /** Repeats a part of the track; null: none. */
  repeat(loop) {
    this.#loop = loop;
    this.buttons.loop.setAttribute("aria-pressed", String(loop !== null));
    if (loop && (this.audio.currentTime < loop.from || this.audio.currentTime >= loop.to)) this.seek(loop.from);
    this.draw();
  }

  draw() {
    const { durationS, peaks } = this.track;
    const at = this.#at();
    const { from, to } = this.#loop ?? { from: 0, to: durationS };
    waveform.draw(this.canvas, peaks, { played: at / durationS, from: from / durationS, to: to / durationS });
    this.slider.style.setProperty("--played", `${(100 * at) / durationS}%`);
    this.slider.setAttribute("aria-valuenow", at.toFixed(2));
    this.slider.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${durationS.toFixed(1)} s`);
    this.time.textContent = `${clock(at)} / ${clock(durationS)}`;
  }

  /** Seconds of the track that have been heard. An extended one begins with what the live sound lacks. */
  #at() {
    if (this.#live === null) return this.audio.currentTime;
    const { durationS } = this.track;
    return Math.min(durationS - this.#live.madeS + this.#live.positionS, durationS);
  }

  #listen(spectrum) {
    this.audio.onplay = () => this.#begin();
    this.audio.onpause = () => this.#end();
    this.audio.onended = () => this.#atEnd();
    this.audio.ontimeupdate = () => this.#turnBack(); // a hidden tab has no frames
    this.buttons.play.onclick = () => this.toggle();
    this.buttons.loop.onclick = () => this.repeat(this.#loop ? null : { from: 0, to: this.track.durationS });
    this.slider.onkeydown = (event) => this.#press(event);
    this.slider.onpointerdown = (event) => this.#grab(event);
    this.slider.onpointerup = (event) => this.#release(event);
    spectrum.onclick = () => this.#showSpectrum(spectrum).catch(fail);
    this.observer = new ResizeObserver(this.redraw);
    this.observer.observe(this.canvas);
    DARK.addEventListener("change", this.redraw);
  }

  #begin() {
    player.begin(this);
    this.#show("Pause");
    const frame = () => {
      this.#turnBack();
      this.draw();
      if (!this.audio.paused) requestAnimationFrame(frame);
    };
    frame();
  }

  #end() {
    player.end(this);
    this.#show("Play");
    this.draw();
  }

  #atEnd() {
    if (this.#loop === null) return this.#end();
    this.seek(this.#loop.from);
    this.#play();
  }

  #turnBack() {
    if (this.#loop && this.audio.currentTime >= this.#loop.to) this.audio.currentTime = this.#loop.from;
  }

  #show(action) {
    this.buttons.play.setAttribute("aria-label", `${action}: ${this.name}`);
    this.buttons.play.dataset.state = action;
  }

  #press(event) {
    const { durationS } = this.track;
    const at = this.#at();
    const acts = {
      ArrowLeft: () => this.seek(at - STEP_S),
      ArrowDown: () => this.seek(at - STEP_S),
      ArrowRight: () => this.seek(at + STEP_S),
      ArrowUp: () => this.seek(at + STEP_S),
      PageDown: () => this.seek(at - PAGE_PART * durationS),
      PageUp: () => this.seek(at + PAGE_PART * durationS),
      Home: () => this.seek(0),
      End: () => this.seek(durationS),
      " ": () => this.toggle(),
      l: () => this.buttons.loop.click(),
      "[": () => this.repeat({ from: at, to: this.#loop?.to > at ? this.#loop.to : durationS }),
      "]": () => this.repeat({ from: this.#loop?.from < at ? this.#loop.from : 0, to: at || durationS }),
    };
    const act = acts[event.key === "L" ? "l" : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  #fraction(event) {
    const box = this.slider.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  #grab(event) {
    this.#dragged = this.#fraction(event);
    this.slider.setPointerCapture(event.pointerId);
  }

  /** A click seeks; a drag repeats the part that it spans. */
  #release(event) {
    if (this.#dragged === null) return;
    const ends = [this.#dragged, this.#fraction(event)].sort((a, b) => a - b);
    this.#dragged = null;
    const [from, to] = ends.map((part) => part * this.track.durationS);
    if (ends[1] - ends[0] < LEAST_LOOP) this.seek(to);
    else this.repeat({ from, to });
  }

  async #showSpectrum(button) {
    const isPressed = () => button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!isPressed()));
    if (isPressed()) await spectrogram.draw(this.picture, this.track.file);
    this.picture.hidden = !isPressed(); // of the newest click
  }
}

/** 83.5 -> "1:23" */
function clock(seconds) {
  const whole = Math.floor(seconds + 0.05);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
