// A run's colour depends on its id alone, so it is the same in every panel and after every reload.

// Twelve hues that stay apart for the common kinds of colour blindness by differing in lightness too.
const RUNS = [
  "#3f6ff0", "#ee7b30", "#149a6a", "#cf3a87", "#c99a06", "#14a7b8",
  "#9457d6", "#bf3636", "#7d9a2a", "#8f5a33", "#f08fb5", "#76839a",
];

/** Return a 32-bit FNV-1a hash of a text. */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  value ^= value >>> 15;
  return Math.imul(value, 0x2c1b3c6d) >>> 0;
}

/** Return the colour of a run. */
export const runColor = (id) => RUNS[(hash(id) >>> 8) % RUNS.length];

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const APART = 120;  // distance in RGB from which on two lines are told apart at a glance

function distance(one, other) {
  const [a, b] = [channels(one), channels(other)];
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

/** Return colours for a few runs drawn together: each its own, unless that is too like another's. */
export function fewColors(ids) {
  const taken = [];
  const room = (color) => Math.min(Infinity, ...taken.map((one) => distance(one, color)));
  return new Map(ids.map((id) => {
    const own = runColor(id);
    const color = room(own) >= APART ? own : [...RUNS].sort((a, b) => room(b) - room(a))[0];
    taken.push(color);
    return [id, color];
  }));
}

/** Return t in [0, 1] -> "rgb(…)" through the style sheet's colours of these names. */
export function ramp(names) {
  const style = getComputedStyle(document.documentElement);
  const stops = names.map((name) => channels(style.getPropertyValue(name).trim()));
  return (t) => {
    const at = Math.min(1, Math.max(0, t)) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(at));
    const mix = stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * (at - i)));
    return `rgb(${mix.join(" ")})`;
  };
}

/** From worst (0) to best (1): ever further from the background. */
export const metricRamp = () => ramp(["--ramp-0", "--ramp-1", "--ramp-2", "--ramp-3"]);

/** Call back when the scheme turns dark or light. */
export function onScheme(redraw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

/** Return a class's colour as [r, g, b]: the same for a number in every picture. */
export const classColor = (number) => channels(RUNS[(((Math.trunc(number) || 0) - 1) % RUNS.length + RUNS.length) % RUNS.length]);

/** Return the colour of the i-th of several things drawn together. */
export const seriesColor = (i) => RUNS[i % RUNS.length];
