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
