/** Makes tracks: each is streamed with its progress, and what has arrived is kept when it ends early. */

import * as base64 from "./base64.js";
import * as client from "./client.js";
import { LivePlayer } from "./live_player.js";
import * as wav from "./wav.js";

const LEAST_KEPT_S = 0.5; // of a track that ends early
const QUIET_MS = 5_000; // between progresses that screen readers speak
const NOT_SIGNED = "format_not_signed"; // code of the error for streams of a service that sends signed files only

let spokenAt = -Infinity; // time of the last progress that screen readers spoke

/** A track that ended early. track: what has arrived, as `make` returns it; cause: the error that ended it */
export class EndedEarly extends Error {
  constructor(track, cause) {
    super(cause.message, { cause });
    this.track = track;
  }
}

/**
 * Makes one track. isHeard: it plays while it is made; tell(status, fraction) tells its progress.
 * Returns { made, file, samples, channels, sampleRate, live: its LivePlayer, if it is heard }. Throws EndedEarly once
 * there is music to keep.
 */
export async function make(wanted, { signal, tell, isHeard }) {
  try {
    return await new Stream(wanted, tell, isHeard).make(signal);
  } catch (error) {
    if (error.code !== NOT_SIGNED) throw error;
    tell("Making the track: it is sent when it is finished and signed", null);
    const [made] = await client.variations(wanted, 1, signal);
    const bytes = base64.decode(made.audio);
    return { made, ...wav.read(bytes), file: wav.blob(bytes) };
  }
}

class Stream {
  #parts = [];
  #file = null; // header, sample rate and channels
  #player = null;
  #facts = {};
  #remainingS = null; // the service's newest estimate
  #wasWaiting = null; // at the progress before
  #began = performance.now();

  constructor(wanted, tell, isHeard) {
    Object.assign(this, { wanted, tell, isHeard });
  }

  async make(signal) {
    const stop = () => this.#player?.stop();
    signal.addEventListener("abort", stop);
    try {
      return await this.#read(signal);
    } catch (error) {
      stop();
      const part = this.#file && this.#part();
      if (!(part?.duration_s >= LEAST_KEPT_S)) throw error;
      throw new EndedEarly(this.#track(part), error);
    } finally {
      speak(true);
      signal.removeEventListener("abort", stop);
    }
  }

  async #read(signal) {
    for await (const [name, data] of client.stream(this.wanted, signal)) {
      if (name === "facts") this.#facts = data;
      if (name === "progress") this.#progress(data);
      if (name === "audio") this.#add(base64.decode(data.audio));
      if (name === "done") {
        this.#player?.complete();
        return this.#track(data);
      }
    }
    throw new client.ApiError(502, "The service ended its answer too early. Try again.", null);
  }

  #progress(progress) {
    this.#remainingS = progress.remaining_s;
    this.#speakSeldom(progress.queue_position > 0);
    const left = progress.remaining_s === null ? "" : `, about ${Math.ceil(progress.remaining_s)} s left`;
    if (progress.queue_position) this.tell(`Waiting: number ${progress.queue_position} in the queue${left}`, null);
    else this.tell(`Making the track: ${progress.audio_s.toFixed(1)} s${left}${this.#buffering()}`, progress.fraction);
  }

  /** Lets screen readers speak this progress if its phase is new, or the last one was a while ago. */
  #speakSeldom(isWaiting) {
    const isDue = isWaiting !== this.#wasWaiting || performance.now() - spokenAt > QUIET_MS;
    this.#wasWaiting = isWaiting;
    speak(isDue);
  }

  /** Tells when the sound will begin, where the track is made too slowly for it to begin at once. */
  #buffering() {
    const waitS = this.#player?.waitS(this.#remainingS) ?? 0;
    return waitS > 0.5 ? `; it plays in about ${Math.ceil(waitS)} s, then without a break` : "";
  }

  #add(bytes) {
    const samples = this.#file ? wav.samplesOf(bytes) : (this.#file = wav.read(bytes)).samples;
    this.#parts.push(samples);
    if (!this.isHeard) return;
    const { sampleRate, channels } = this.#file;
    this.#player ??= new LivePlayer(sampleRate, channels, this.wanted.duration_s);
    this.#player.add(samples, this.#remainingS);
    document.getElementById("now").dataset.underruns = this.#player.underruns;
  }

  /** Facts of what has arrived, as `done` tells those of a whole track. */
  #part() {
    const frames = this.#parts.reduce((sum, part) => sum + part.length, 0) / this.#file.channels;
    return {
      ...this.#facts,
      duration_s: frames / this.#file.sampleRate,
      generation_s: (performance.now() - this.#began) / 1000,
      cost_usd: null,
    };
  }

  #track(made) {
    const samples = wav.join(this.#parts);
    const file = wav.write(this.#file.header, samples);
    return { made, ...this.#file, samples, file, live: this.#player };
  }
}

/** Sets whether screen readers speak the changes of the status that follow. */
function speak(isDue) {
  if (isDue) spokenAt = performance.now();
  document.getElementById("status").setAttribute("aria-live", isDue ? "polite" : "off");
}
