/** Waveforms: peaks of samples, and their drawing. */

// In CSS pixels; a step is a bar and the gap after it.
const BAR = 2;
const STEP = 3;
const COLUMNS = 480; // of stored peaks: more than a card has bars

/** Peaks over time, of 16-bit samples, scaled so that the loudest is 255. */
export function peaksOf(samples) {
  const columns = Math.min(COLUMNS, samples.length);
  const peaks = new Float32Array(columns);
  let loudest = 1;
  for (let column = 0; column < columns; column++) {
    const last = Math.floor(((column + 1) * samples.length) / columns);
    for (let i = Math.floor((column * samples.length) / columns); i < last; i++) {
      peaks[column] = Math.max(peaks[column], Math.abs(samples[i]));
    }
    loudest = Math.max(loudest, peaks[column]);
  }
  return Uint8Array.from(peaks, (peak) => Math.round((255 * peak) / loudest));
}

/** Draws peaks. played: fraction that is emphasized; from, to: fractions outside of which bars are faint. */
export function draw(canvas, peaks, { played = 1, from = 0, to = 1 } = {}) {
  const context = fitted(canvas);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const style = getComputedStyle(canvas);
  const bars = Math.max(1, Math.floor(width / STEP));
  context.clearRect(0, 0, width, height);
  for (let bar = 0; bar < bars; bar++) {
    const at = bar / bars;
    const isInside = at >= from && at <= to;
    context.fillStyle = at <= played && isInside ? style.color : style.borderTopColor;
    const tall = Math.max(BAR, (highest(peaks, bar, bars) / 255) * height);
    context.fillRect(bar * STEP, (height - tall) / 2, BAR, tall);
  }
}

function highest(peaks, bar, bars) {
  const first = Math.floor((bar * peaks.length) / bars);
  const last = Math.max(first + 1, Math.floor(((bar + 1) * peaks.length) / bars));
  return peaks.subarray(first, last).reduce((peak, one) => Math.max(peak, one), 0);
}

/** The context of a canvas that has as many pixels as the screen shows of it. */
function fitted(canvas) {
  const scale = globalThis.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round(canvas.clientHeight * scale));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}
