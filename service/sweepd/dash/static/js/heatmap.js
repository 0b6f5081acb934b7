// Histograms over steps as a heat map: a column per step, value upwards, colour by share.

import { h, onWidth, placeTip, put, s } from "./dom.js";
import { number, tickTexts } from "./format.js";
import { onScheme, ramp } from "./color.js";
import { stepTick } from "./linechart.js";
import { linear } from "./scale.js";

const TOP = 8;
const BOTTOM = 22;
const ROWS = 48;

/** Return each histogram's counts re-binned to `ROWS` rows of [lo, hi], as shares of its total. */
export function rebin(histograms, lo, hi) {
  const width = (hi - lo) / ROWS;
  return histograms.map(({ bins, values }) => {
    const rows = new Float64Array(ROWS);
    const total = values.reduce((a, b) => a + b, 0) || 1;
    values.forEach((count, i) => {
      const [a, b] = [bins[i], bins[i + 1]];
      const first = Math.max(0, Math.floor((a - lo) / width));
      const last = Math.min(ROWS - 1, Math.floor((b - lo) / width));
      for (let r = first; r <= last; r += 1) {
        const overlap = Math.min(b, lo + (r + 1) * width) - Math.max(a, lo + r * width);
        rows[r] += (count / total) * (b > a ? Math.max(0, overlap) / (b - a) : 1);
      }
    });
    return rows;
  });
}

/** A heat map of `[{step, bins, values}]`. */
export class HeatMap {
  constructor(root, { height = 180, label = "" } = {}) {
    this.root = root;
    this.height = height;
    this.label = label;
    root.classList.add("plot");
    this.place = h("div");
    this.tip = h("div", { class: "tip", hidden: true });
    root.append(this.place, this.tip);
    onWidth(root, (width) => { this.width = width; this.draw(); });
    onScheme(() => this.draw());
    root.addEventListener("pointermove", (event) => this.point(event));
    root.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  set({ histograms }) {
    const text = JSON.stringify(histograms);
    if (text === this.text) return;
    this.text = text;
    this.histograms = histograms.filter((one) => one.bins.length === one.values.length + 1);
    this.draw();
  }

  draw() {
    if (!this.width || !this.histograms) return;
    if (this.histograms.length === 0) { put(this.place, h("p", { class: "empty faint" }, "no histograms yet")); return; }
    const lo = Math.min(...this.histograms.map((one) => one.bins[0]));
    const hi = Math.max(...this.histograms.map((one) => one.bins[one.bins.length - 1]));
    const shares = rebin(this.histograms, lo, hi === lo ? lo + 1e-12 : hi);
    const plot = this.height - TOP - BOTTOM;
    const y = linear(lo, hi === lo ? lo + 1e-12 : hi, TOP + plot, TOP);
    const ticks = y.ticks(4);
    const texts = tickTexts(ticks);
    const left = Math.max(34, 16 + 6.4 * Math.max(...texts.map((t) => t.length)));
    const width = this.width - left - 12;
    const canvas = h("canvas", { width: this.histograms.length, height: ROWS, "aria-hidden": "true", style: { position: "absolute", left: `${left}px`, top: `${TOP}px`, width: `${width}px`, height: `${plot}px`, "image-rendering": "pixelated" } });
    const pen = canvas.getContext("2d");
    const color = ramp(["--heat-0", "--heat-1"]);
    const most = Math.max(...shares.map((rows) => Math.max(...rows)));
    shares.forEach((rows, i) => rows.forEach((share, r) => {
      pen.fillStyle = color(share > 0 ? 0.06 + 0.94 * Math.sqrt(share / most) : 0);
      pen.fillRect(i, ROWS - 1 - r, 1, 1);
    }));
    const svg = s("svg", { height: this.height, role: "img", "aria-label": this.label });
    ticks.forEach((tick, i) => svg.append(s("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, texts[i])));
    const n = this.histograms.length;
    const every = Math.max(1, Math.ceil(n / Math.max(2, Math.floor(width / 72))));
    for (let i = 0; i < n; i += every) {
      svg.append(s("text", { x: left + ((i + 0.5) / n) * width, y: this.height - 6, "text-anchor": "middle" }, stepTick(this.histograms[i].step)));
    }
    Object.assign(this, { left, plotWidth: width, y, shares, lo, hi });
    put(this.place, canvas, svg);
  }

  point(event) {
    if (!this.shares) return;
    const box = this.root.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const i = Math.floor(((px - this.left) / this.plotWidth) * this.histograms.length);
    const value = this.y.invert(py);
    const row = Math.floor(((value - this.lo) / (this.hi - this.lo || 1e-12)) * ROWS);
    this.tip.hidden = !(i >= 0 && i < this.histograms.length && row >= 0 && row < ROWS);
    if (this.tip.hidden) return;
    put(this.tip,
      h("div", { class: "head" }, `step ${number(this.histograms[i].step)}`),
      h("div", {}, `near ${number(value)}: ${number(this.shares[i][row] * 100)} %`));
    placeTip(this.tip, px, py);
  }
}
