/** Playback of a track while it is being made. */

export class LivePlayer {
  constructor(sampleRate, channels) {
    this.context = new AudioContext();
    this.sampleRate = sampleRate;
    this.channels = channels;
    this.until = 0; // end of the scheduled audio, in seconds of the context's clock
  }

  /** Schedules samples right after the earlier ones. samples: 16-bit, channels interleaved. */
  add(samples) {
    const frames = Math.floor(samples.length / this.channels);
    if (!frames) return;
    const buffer = this.context.createBuffer(this.channels, frames, this.sampleRate);
    for (let c = 0; c < this.channels; c++) {
      const channel = buffer.getChannelData(c);
      for (let i = 0; i < frames; i++) channel[i] = samples[i * this.channels + c] / 32768;
    }
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    this.until = Math.max(this.until, this.context.currentTime + 0.05);
    source.start(this.until);
    this.until += buffer.duration;
  }

  /** Stops at once and frees the audio device. */
  stop() {
    if (this.context.state !== "closed") this.context.close();
  }
}
