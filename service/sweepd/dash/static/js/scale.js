// Scales from data to pixels, and their ticks.

/** Return a scale: `(value) -> pixel`, `.invert(pixel)`, `.ticks(count)`, `.domain`. */
export function linear(lo, hi, from, to) {
  const span = hi - lo || 1;
  const scale = (v) => from + ((v - lo) / span) * (to - from);
  scale.invert = (p) => lo + ((p - from) / (to - from)) * span;
  scale.ticks = (count) => {
    const raw = (hi - lo) / Math.max(1, count);
    if (!(raw > 0)) return [lo];
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((m) => m >= raw * 0.999);
    const ticks = [];
    for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i += 1) {
      ticks.push(Number((i * step).toPrecision(12)));
    }
    return ticks;
  };
  scale.domain = [lo, hi];
  return scale;
}

/** As `linear`, over logarithms; both ends are above 0. */
export function log(lo, hi, from, to) {
  const inner = linear(Math.log10(lo), Math.log10(hi), from, to);
  const scale = (v) => inner(Math.log10(v));
  scale.invert = (p) => 10 ** inner.invert(p);
  scale.ticks = (count) => {
    const [a, b] = [Math.log10(lo), Math.log10(hi)];
    const pick = (steps, every) => {
      const ticks = [];
      for (let e = Math.floor(a); e <= Math.ceil(b); e += 1) {
        if (e % every !== 0) continue;
        for (const m of steps) {
          const v = Number((m * 10 ** e).toPrecision(6));
          if (v >= lo * 0.9999 && v <= hi * 1.0001) ticks.push(v);
        }
      }
      return ticks;
    };
    for (const [steps, every] of [[[1, 2, 3, 5, 7], 1], [[1, 2, 5], 1], [[1, 3], 1], [[1], 1], [[1], 2], [[1], 4]]) {
      const ticks = pick(steps, every);
      if (ticks.length <= count + 1 && ticks.length >= 2) return ticks;
    }
    return [lo, hi];
  };
  scale.domain = [lo, hi];
  return scale;
}

/** Return [lo, hi] widened a little, and made wide where it is a point. */
export function padded(lo, hi, share = 0.04) {
  if (!(lo <= hi)) return [0, 1];
  if (lo === hi) return lo === 0 ? [-1, 1] : [lo - Math.abs(lo) * 0.1, hi + Math.abs(hi) * 0.1];
  const pad = (hi - lo) * share;
  return [lo - pad, hi + pad];
}

/** Return the q-quantile of sorted numbers. */
export function quantile(sorted, q) {
  const at = (sorted.length - 1) * q;
  const i = Math.floor(at);
  return sorted[i] + ((sorted[i + 1] ?? sorted[i]) - sorted[i]) * (at - i);
}

const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** Return ticks of a time axis, seconds: whole seconds, minutes, hours or days. */
export function timeTicks(lo, hi, count) {
  const raw = (hi - lo) / Math.max(1, count);
  const step = TIMES.find((one) => one >= raw) ?? 86400 * Math.ceil(raw / 86400);
  const ticks = [];
  for (let v = Math.ceil(lo / step) * step; v <= hi; v += step) ticks.push(v);
  return ticks;
}

/** Return a time as a tick's text: 30 s, 1.5 min, 2 h. */
export function timeTick(v) {
  if (v === 0) return "0";
  const [size, unit] = v < 60 ? [1, "s"] : v < 3600 ? [60, "min"] : v < 86400 ? [3600, "h"] : [86400, "d"];
  return `${Number((v / size).toFixed(2))} ${unit}`;
}
