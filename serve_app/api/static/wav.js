/** 16-bit WAV files of the service, whose header holds the marks of generated audio. */

const RIFF_BYTES = 12;
const CHUNK_BYTES = 8;

/** Finds where the samples begin. Returns null while the header is incomplete. */
function dataStart(view) {
  let at = RIFF_BYTES;
  while (at + CHUNK_BYTES <= view.byteLength) {
    const name = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, 4));
    if (name === "data") return at + CHUNK_BYTES;
    const size = view.getUint32(at + 4, true);
    at += CHUNK_BYTES + size + (size % 2);
  }
  return null;
}

/** Splits a file, or its beginning, into its header and its samples. */
export function read(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = dataStart(view);
  if (start === null) throw new Error(`A WAV header does not end within ${bytes.byteLength} bytes`);
  const data = bytes.slice(start);
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

/** Writes a file with the header of a streamed one, which lacks the sizes. samples: channels interleaved. */
export function write(header, samples) {
  const complete = header.slice();
  const view = new DataView(complete.buffer);
  view.setUint32(4, complete.byteLength - 8 + samples.byteLength, true);
  view.setUint32(complete.byteLength - 4, samples.byteLength, true);
  return new Blob([complete, samples], { type: "audio/wav" });
}
