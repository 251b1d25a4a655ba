/** 16-bit WAV files. */

const HEADER_BYTES = 44;

/** Writes a file. samples: 16-bit, channels interleaved. */
export function write(samples, sampleRate, channels) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  const text = (at, characters) => [...characters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + samples.byteLength, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, samples.byteLength, true);
  return new Blob([view, samples], { type: "audio/wav" });
}

/** Reads the samples of a file that the service wrote. */
export function read(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const channels = view.getUint16(22, true);
  const data = bytes.slice(HEADER_BYTES);
  const samples = new Int16Array(data.buffer, 0, Math.floor(data.byteLength / 2));
  return { samples, channels, sampleRate: view.getUint32(24, true) };
}
