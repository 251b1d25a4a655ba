/** Spectrograms: the energy of a track by time and frequency, on a logarithmic scale of both. */

import * as wav from "./wav.js";

const WINDOW = 2048; // samples of a Hann window
const COLUMNS = 600;
const ROWS = 160;
const LOWEST_HZ = 50;
const RANGE_DB = 80; // below the loudest

/** Draws the spectrogram of a WAV file; the lowest frequency is at the bottom. */
export async function draw(canvas, file) {
  const { samples, channels, sampleRate } = wav.read(new Uint8Array(await file.arrayBuffer()));
  canvas.width = COLUMNS;
  canvas.height = ROWS;
  const context = canvas.getContext("2d");
  const image = context.createImageData(COLUMNS, ROWS);
  const levels = levelsOf(samples, channels, sampleRate);
  const loudest = levels.reduce((most, level) => Math.max(most, level), -Infinity);
  levels.forEach((level, at) => image.data.set(colour(1 + (level - loudest) / RANGE_DB), 4 * at));
  context.putImageData(image, 0, 0);
}

/** Levels in dB, row by row, the highest frequency first. */
function levelsOf(samples, channels, sampleRate) {
  const bins = binsOf(sampleRate);
  const levels = new Float32Array(COLUMNS * ROWS);
  const frames = Math.floor(samples.length / channels);
  const [real, imaginary] = [new Float32Array(WINDOW), new Float32Array(WINDOW)];
  for (let column = 0; column < COLUMNS; column++) {
    const start = Math.round(((frames - WINDOW) * column) / (COLUMNS - 1));
    for (let i = 0; i < WINDOW; i++) {
      const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW);
      real[i] = hann * (samples[Math.max(0, start + i) * channels] ?? 0);
    }
    imaginary.fill(0);
    transform(real, imaginary);
    bins.forEach(([first, last], row) => {
      let power = 1;
      for (let bin = first; bin < last; bin++) power = Math.max(power, real[bin] ** 2 + imaginary[bin] ** 2);
      levels[row * COLUMNS + column] = 10 * Math.log10(power);
    });
  }
  return levels;
}

/** First and last bin of each row. */
function binsOf(sampleRate) {
  const octaves = Math.log2(sampleRate / 2 / LOWEST_HZ);
  const bin = (row) => ((LOWEST_HZ * 2 ** (octaves * (1 - row / ROWS))) / sampleRate) * WINDOW;
  return Array.from({ length: ROWS }, (_, row) => {
    const first = Math.floor(bin(row + 1));
    return [first, Math.max(first + 1, Math.floor(bin(row)))];
  });
}

/** Fast Fourier transform in place, radix 2 (Cooley and Tukey, 1965). */
function transform(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let span = 2; span <= size; span *= 2) butterflies(real, imaginary, span);
}

function butterflies(real, imaginary, span) {
  const half = span / 2;
  for (let k = 0; k < half; k++) {
    const cosine = Math.cos((2 * Math.PI * k) / span);
    const sine = -Math.sin((2 * Math.PI * k) / span);
    for (let i = k; i < real.length; i += span) {
      const j = i + half;
      const re = real[j] * cosine - imaginary[j] * sine;
      const im = real[j] * sine + imaginary[j] * cosine;
      real[j] = real[i] - re;
      imaginary[j] = imaginary[i] - im;
      real[i] += re;
      imaginary[i] += im;
    }
  }
}

/** Red, green, blue and opacity of a level from 0 to 1: dark violet to light yellow. */
function colour(level) {
  const part = Math.min(1, Math.max(0, level));
  return [20 + 235 * part ** 0.8, 16 + 224 * part ** 2, 40 + 180 * Math.sin(Math.PI * part) ** 1.2 + 60 * part, 255];
}
