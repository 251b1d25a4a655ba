/** Playback of a track while it is being made. What is made more slowly than it plays is buffered first. */

import * as player from "./player.js";

const LEAD_S = 0.05; // from the decision to play to the first sample
const MARGIN = 1.15; // factor of the estimated time until the track is made
const LEAST_MEASURED_S = 0.4; // shorter measurements say nothing about the speed

export class LivePlayer {
  isLive = true;
  underruns = 0; // times that the sound stopped because the track was not made in time
  #queue = []; // buffers that are not scheduled yet
  #madeS = 0; // seconds of music that have arrived
  #playedS = 0; // of them, those that are scheduled
  #chunkS = 0; // of the newest arrival
  #first = null; // { at, madeS } of the first arrival
  #until = 0; // end of the scheduled sound, in seconds of the context's clock
  #isPlaying = false;
  #isComplete = false;
  #isClosing = false;
  #last = null; // source of the newest scheduled buffer
  #ended = null; // source of the newest buffer that has been played

  /** durationS: of the whole track */
  constructor(sampleRate, channels, durationS) {
    this.context = contextOf(sampleRate);
    Object.assign(this, { sampleRate, channels, durationS });
    player.begin(this);
  }

  /** Takes samples that follow the earlier ones. samples: 16-bit, channels interleaved; remainingS: see waitS. */
  add(samples, remainingS) {
    const frames = Math.floor(samples.length / this.channels);
    if (!frames || this.isStopped) return;
    this.#queue.push(this.#bufferOf(samples, frames));
    this.#chunkS = frames / this.sampleRate;
    this.#madeS += this.#chunkS;
    this.#first ??= { at: performance.now(), madeS: this.#madeS };
    if (this.#isPlaying && this.context.currentTime > this.#until) {
      this.underruns += 1;
      this.#isPlaying = false;
    }
    this.#play(remainingS);
  }

  /** Plays what is left: nothing more will come. */
  complete() {
    if (this.isStopped) return;
    this.#isComplete = true;
    this.#play(0);
    if (this.#last === this.#ended) this.stop();
  }

  /** Seconds until the sound begins without an interruption later; 0 once it plays; null: unknown. */
  waitS(remainingS) {
    if (this.#isPlaying || this.#isComplete) return 0;
    const left = this.#leftS(remainingS);
    if (left === null) return null;
    return Math.max(0, left * MARGIN - (this.durationS - this.#playedS - this.#chunkS));
  }

  /** Seconds of the track that have been heard. */
  get positionS() {
    return Math.max(0, this.#playedS - Math.max(0, this.#until - this.context.currentTime));
  }

  /** Seconds of the track that have arrived. */
  get madeS() {
    return this.#madeS;
  }

  get isStopped() {
    return this.context.state === "closed" || this.#isClosing;
  }

  /** Stops at once and frees the audio device. */
  stop() {
    if (this.isStopped) return;
    this.#isClosing = true; // the state changes later
    this.#queue = [];
    this.context.close();
    player.end(this);
  }

  /** Seconds until the whole track is made: by the speed measured here and the service's estimate, the longer. */
  #leftS(remainingS) {
    const measuredS = (performance.now() - this.#first.at) / 1000;
    const madeS = this.#madeS - this.#first.madeS;
    if (measuredS < LEAST_MEASURED_S || madeS === 0) return remainingS;
    return Math.max((measuredS * (this.durationS - this.#madeS)) / madeS, remainingS ?? 0);
  }

  #play(remainingS) {
    if (!this.#isPlaying) {
      if (this.waitS(remainingS) !== 0) return;
      this.#isPlaying = true;
      this.#until = this.context.currentTime + LEAD_S;
    }
    for (const buffer of this.#queue.splice(0)) this.#schedule(buffer);
  }

  #schedule(buffer) {
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    source.onended = () => this.#end(source);
    source.start(this.#until);
    this.#until += buffer.duration;
    this.#playedS += buffer.duration;
    this.#last = source;
  }

  #end(source) {
    this.#ended = source;
    if (this.#isComplete && source === this.#last) this.stop();
  }

  #bufferOf(samples, frames) {
    const buffer = this.context.createBuffer(this.channels, frames, this.sampleRate);
    for (let c = 0; c < this.channels; c++) {
      const channel = buffer.getChannelData(c);
      for (let i = 0; i < frames; i++) channel[i] = samples[i * this.channels + c] / 32768;
    }
    return buffer;
  }
}

/** An audio device at the rate of the samples, so that chunks are not resampled one by one; else at its own rate. */
function contextOf(sampleRate) {
  try {
    return new AudioContext({ sampleRate });
  } catch {
    return new AudioContext();
  }
}
