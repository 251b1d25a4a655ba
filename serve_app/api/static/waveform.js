/** Draws how loud a piece is over time. samples: 16-bit; fraction: how much of the width they fill. */
export function draw(canvas, samples, fraction = 1) {
  const scale = globalThis.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.round(64 * scale);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).color;
  const columns = Math.floor((width * fraction) / (3 * scale));
  for (let column = 0; column < columns; column++) {
    const first = Math.floor((column * samples.length) / columns);
    const last = Math.max(first + 1, Math.floor(((column + 1) * samples.length) / columns));
    let peak = 0;
    for (let i = first; i < last; i++) peak = Math.max(peak, Math.abs(samples[i]));
    const bar = Math.max(2 * scale, (peak / 32768) * height);
    context.fillRect(column * 3 * scale, (height - bar) / 2, 2 * scale, bar);
  }
}
