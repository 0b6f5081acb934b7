// Console text with ANSI colours as spans; every other escape is dropped.

import { h } from "./dom.js";

const ESCAPE = /\x1b\[([0-9;:]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]/g;
const STYLES = { 1: "b", 2: "d", 3: "i", 4: "u", 9: "s" };

const cube = (n) => (n === 0 ? 0 : 55 + 40 * n);

/** Return the CSS colour of an index of the 256-colour table, from 16 up. */
export function color256(n) {
  if (n >= 232) { const g = 8 + 10 * (n - 232); return `rgb(${g} ${g} ${g})`; }
  const i = n - 16;
  return `rgb(${cube(Math.floor(i / 36))} ${cube(Math.floor(i / 6) % 6)} ${cube(i % 6)})`;
}

function extended(codes, at, style) {
  const key = codes[at] === 38 ? "color" : "background";
  if (codes[at + 1] === 5) {
    const n = codes[at + 2];
    if (n < 16) style.index = n < 8 ? 30 + n : 82 + n;
    else if (n < 256) { style[key] = color256(n); if (key === "color") style.index = null; }
    return at + 2;
  }
  if (codes[at + 1] === 2) {
    const rgb = codes.slice(at + 2, at + 5).map((c) => Math.min(255, c || 0));
    if (rgb.length === 3) { style[key] = `rgb(${rgb.join(" ")})`; if (key === "color") style.index = null; }
    return at + 4;
  }
  return at;
}

function apply(codes, style) {
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i];
    if (code === 0) Object.assign(style, { marks: new Set(), index: null, color: null, background: null });
    else if (STYLES[code]) style.marks.add(STYLES[code]);
    else if (code === 22) { style.marks.delete("b"); style.marks.delete("d"); }
    else if (code === 23 || code === 24 || code === 29) style.marks.delete({ 23: "i", 24: "u", 29: "s" }[code]);
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) Object.assign(style, { index: code, color: null });
    else if (code === 39) Object.assign(style, { index: null, color: null });
    else if (code === 49) style.background = null;
    else if (code === 38 || code === 48) i = extended(codes, i, style);
  }
}

/** Return `[{text, classes, color, background}]` of one console line; a carriage return starts it over. */
export function parse(line) {
  const text = line.replace(/\r+$/, "");
  const from = text.lastIndexOf("\r") + 1;
  const style = { marks: new Set(), index: null, color: null, background: null };
  const parts = [];
  let last = from;
  const push = (piece) => {
    if (!piece) return;
    const classes = [...style.marks].map((m) => `a-${m}`);
    if (style.index) classes.push(`a-${style.index}`);
    parts.push({ text: piece, classes, color: style.color, background: style.background });
  };
  ESCAPE.lastIndex = 0;
  for (let match = ESCAPE.exec(text); match; match = ESCAPE.exec(text)) {
    if (match.index >= from) { push(text.slice(last, match.index)); last = match.index + match[0].length; }
    if (match[2] === "m") apply((match[1] || "0").split(/[;:]/).map(Number), style);
  }
  push(text.slice(last));
  return parts;
}

/** Return the text alone. */
export const plain = (line) => parse(line).map((part) => part.text).join("");

/** Return a span of one console line, with what matches `needle` (lower case) marked. */
export function render(line, needle) {
  const mark = (text) => {
    if (!needle) return text;
    const low = text.toLowerCase();
    const out = [];
    let at = 0;
    for (let hit = low.indexOf(needle); hit >= 0; hit = low.indexOf(needle, at)) {
      out.push(text.slice(at, hit), h("mark", {}, text.slice(hit, hit + needle.length)));
      at = hit + needle.length;
    }
    out.push(text.slice(at));
    return out;
  };
  return h("span", { class: "t" }, parse(line).map((part) => (part.classes.length || part.color || part.background
    ? h("span", { class: part.classes.join(" ") || null, style: { ...(part.color && { color: part.color }), ...(part.background && { background: part.background }) } }, mark(part.text))
    : mark(part.text))));
}
