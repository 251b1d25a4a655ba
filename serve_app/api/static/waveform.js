/** Waveforms of tracks. */

// In CSS pixels; a step is a bar and the gap after it.
const HEIGHT = 64;
const BAR = 2;
const STEP = 3;

/** Draws the peaks of a track over time, scaled to the loudest. samples: 16-bit. */
export function draw(canvas, samples) {
  const scale = globalThis.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.round(HEIGHT * scale);
  const peaks = peaksOf(samples, Math.floor(canvas.clientWidth / STEP));
  const loudest = Math.max(1, ...peaks);
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).color;
  context.scale(scale, scale);
  peaks.forEach((peak, column) => {
    const height = Math.max(BAR, (peak / loudest) * HEIGHT);
    context.fillRect(column * STEP, (HEIGHT - height) / 2, BAR, height);
  });
}

function peaksOf(samples, columns) {
  return Array.from({ length: columns }, (_, column) => {
    const first = Math.floor((column * samples.length) / columns);
    const last = Math.max(first + 1, Math.floor(((column + 1) * samples.length) / columns));
    return samples.subarray(first, last).reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0);
  });
}
