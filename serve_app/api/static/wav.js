/** 16-bit WAV files of the service, whose header holds the marks of generated audio. */

const RIFF_BYTES = 12;
const CHUNK_BYTES = 8;

const UNKNOWN = 0xffffffff; // size of samples that are still being made

/** Finds where the samples begin, and their size. Returns null while the header is incomplete. */
function dataOf(view) {
  let at = RIFF_BYTES;
  while (at + CHUNK_BYTES <= view.byteLength) {
    const name = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, 4));
    const size = view.getUint32(at + 4, true);
    if (name === "data") return { start: at + CHUNK_BYTES, size };
    at += CHUNK_BYTES + size + (size % 2);
  }
  return null;
}

/** Splits a file, or its beginning, into its header and its samples. A signed manifest follows the samples. */
export function read(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = dataOf(view);
  if (found === null) throw new Error(`A WAV header does not end within ${bytes.byteLength} bytes`);
  const { start, size } = found;
  const data = bytes.slice(start, size === UNKNOWN ? undefined : start + size);
  return {
    header: bytes.slice(0, start),
    samples: samplesOf(data),
    sampleRate: view.getUint32(24, true),
    channels: view.getUint16(22, true),
  };
}

/** The samples of bytes that follow a header. */
export function samplesOf(bytes) {
  return new Int16Array(bytes.buffer, 0, Math.floor(bytes.byteLength / 2));
}

/** One array of the samples of all parts. */
export function join(parts) {
  const whole = new Int16Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Writes a file with the header of a streamed one, which lacks the sizes. samples: channels interleaved. */
export function write(header, samples) {
  const complete = header.slice();
  const view = new DataView(complete.buffer);
  view.setUint32(4, complete.byteLength - 8 + samples.byteLength, true);
  view.setUint32(complete.byteLength - 4, samples.byteLength, true);
  return blob(complete, samples);
}

/** A file of these parts. */
export function blob(...parts) {
  return new Blob(parts, { type: "audio/wav" });
}

/** 16-bit samples of a part of an AudioBuffer, in seconds, channels interleaved. */
export function interleave(buffer, from, to) {
  const channels = Math.min(2, buffer.numberOfChannels);
  const first = Math.round(from * buffer.sampleRate);
  const frames = Math.min(buffer.length, Math.round(to * buffer.sampleRate)) - first;
  const samples = new Int16Array(frames * channels);
  for (let c = 0; c < channels; c++) {
    const channel = buffer.getChannelData(c);
    for (let i = 0; i < frames; i++) {
      samples[i * channels + c] = Math.round(32767 * Math.max(-1, Math.min(1, channel[first + i])));
    }
  }
  return { samples, channels };
}

/** Writes a 16-bit PCM file. */
export function encode(samples, sampleRate, channels) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, channels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  return write(new Uint8Array(view.buffer), samples);
}
