// Numbers, times and sizes as text: four significant digits everywhere.

import { h } from "./dom.js";

/** Return a number with four (or so many) significant digits, or a dash. */
export function number(value, digits = 4) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) {
    return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(digits)));
}

/** Return the texts of an axis's ticks: with as many digits as it takes to tell them apart. */
export function tickTexts(ticks) {
  for (let digits = 4; digits < 12; digits += 1) {
    const texts = ticks.map((tick) => number(tick, digits));
    if (new Set(texts).size === ticks.length) return texts;
  }
  return ticks.map(String);
}

/** Return a number for a column: four significant digits with their trailing zeros, so that points align. */
export function fixed(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return number(value);
  const size = Math.abs(value);
  return size < 1e-4 || size >= 1e4 ? number(value) : value.toPrecision(4);
}

/** Return any config or summary value as short text. */
export function value(item) {
  if (item === null || item === undefined) return item === null ? "null" : "–";
  if (typeof item === "number") return number(item);
  if (typeof item === "string") return item;
  if (typeof item === "boolean") return item ? "true" : "false";
  return JSON.stringify(item);
}

/** Return seconds as "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const t = Math.max(0, seconds);
  if (t < 10) return `${t.toFixed(1)} s`;
  if (t < 60) return `${Math.floor(t)} s`;
  const parts = t < 3600 ? [[t / 60, "min"], [t % 60, "s"]]
    : t < 86400 ? [[t / 3600, "h"], [(t % 3600) / 60, "min"]]
    : [[t / 86400, "d"], [(t % 86400) / 3600, "h"]];
  return parts.map(([n, unit]) => [Math.floor(n), unit]).filter(([n], i) => i === 0 || n > 0)
    .map(([n, unit]) => `${n} ${unit}`).join(" ");
}

/** Return bytes as text. */
export function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let n = size;
  let i = 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i += 1; }
  return `${i === 0 ? n : n.toPrecision(3)} ${units[i]}`;
}

let skew = 0;  // server's clock minus ours, seconds

/** Take the server's clock as the truth. */
export function setNow(serverNow) { skew = serverNow - Date.now() / 1000; }

/** Return the server's time now, Unix seconds. */
export const now = () => Date.now() / 1000 + skew;

function ago(at) {
  const past = now() - at;
  if (past < 5 && past > -120) return "just now";
  const t = Math.abs(past);
  const text = t < 60 ? `${Math.floor(t)} s` : t < 3600 ? `${Math.floor(t / 60)} min`
    : t < 86400 ? `${Math.floor(t / 3600)} h` : `${Math.floor(t / 86400)} d`;
  return past > 0 ? `${text} ago` : `in ${text}`;
}

/** Return a moment as "3 min ago", with the whole date on hover; it keeps itself up to date. */
export function when(at) {
  if (at === null || at === undefined) return h("span", { class: "faint" }, "–");
  const date = new Date(at * 1000);
  return h("time", { datetime: date.toISOString(), title: date.toLocaleString(), data: { at } }, ago(at));
}

/** Return how long something took, or has taken so far; it keeps itself up to date. */
export function lasting(start, end) {
  if (start === null || start === undefined) return h("span", { class: "faint" }, "–");
  if (end !== null && end !== undefined) return h("span", {}, duration(end - start));
  return h("span", { data: { since: start } }, duration(now() - start));
}

/** Fill in the times that the server wrote into the page, and keep all of them up to date. */
export function keepTimes() {
  const tick = () => {
    for (const time of document.querySelectorAll("time[data-at]")) {
      const text = ago(Number(time.dataset.at));
      if (time.textContent !== text) time.textContent = text;
      time.title ||= new Date(Number(time.dataset.at) * 1000).toLocaleString();
    }
    for (const span of document.querySelectorAll("[data-since]")) {
      span.textContent = duration(now() - Number(span.dataset.since));
    }
  };
  tick();
  setInterval(tick, 1000);
}
