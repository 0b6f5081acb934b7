// Best so far: every trial as a point marked by its state, and the step line of the best.

import { h, onWidth, placeTip, put, s } from "./dom.js";
import { number, tickTexts } from "./format.js";
import { linear, padded, quantile, timeTick, timeTicks } from "./scale.js";

const TOP = 12;
const BOTTOM = 26;
const HEIGHT = 264;

const MARKS = {  // drawn around (0, 0)
  finished: "M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0Z",
  running: "M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0Z",
  early: "M-4 -4.5L5 0L-4 4.5Z",
  failed: "M-4 -4L4 4M4 -4L-4 4",
  crashed: "M-4 -4L4 4M4 -4L-4 4",
  killed: "M-4 -4H4V4H-4Z",
};

const MARKED = new Set(["failed", "crashed", "killed"]);

/** Return a y range that shows the better half well; far worse points go to the edge, marked. */
export function domainOf(values, goal) {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return [0, 1];
  const [lo, hi] = [sorted[0], sorted[sorted.length - 1]];
  if (sorted.length < 8) return padded(lo, hi, 0.08);
  const spread = quantile(sorted, 0.75) - quantile(sorted, 0.25) || (hi - lo) / 4;
  if (goal === "maximize") return padded(Math.max(lo, quantile(sorted, 0.25) - 2.5 * spread), hi, 0.08);
  return padded(lo, Math.min(hi, quantile(sorted, 0.75) + 2.5 * spread), 0.08);
}

/** The chart of a sweep's trials; `open(run)` is called on a click. */
export class BestSoFar {
  constructor(root, { focus, open }) {
    this.root = root;
    this.focus = focus;
    this.open = open;
    this.axis = "order";
    root.classList.add("plot");
    this.canvas = h("div");
    this.tip = h("div", { class: "tip", hidden: true });
    root.append(this.canvas, this.tip);
    onWidth(root, (width) => { this.width = width; this.draw(); });
    focus.addEventListener("hover", () => this.lightUp());
    focus.addEventListener("brush", () => { for (const [id, mark] of this.marks ?? []) mark.classList.toggle("away", !focus.passes(id)); });
    root.addEventListener("pointerleave", () => { this.tip.hidden = true; this.focus.hover(null); });
  }

  set({ runs, goal, metric, start }) {
    Object.assign(this, { runs, goal, metric, start });
    this.draw();
  }

  place(run) {
    return this.axis === "order" ? run.number : (run.ended ?? run.started ?? run.created) - this.start;
  }

  draw() {
    if (!this.width || !this.runs) return;
    const measured = this.runs.filter((run) => Number.isFinite(run.value));
    if (!this.runs.some((run) => Number.isFinite(run.value) || MARKED.has(run.state.icon))) {
      put(this.canvas, h("p", { class: "empty" }, this.runs.length ? "No trial has a value yet." : "No trials yet."));
      return;
    }
    const [y0, y1] = domainOf(measured.map((run) => run.value), this.goal);
    const floor = HEIGHT - BOTTOM;
    const y = linear(y0, y1, floor, TOP);
    const yTicks = y.ticks(6).filter((t) => t >= y0 && t <= y1);
    const texts = tickTexts(yTicks);
    const left = Math.max(36, 12 + 6.2 * Math.max(...texts.map((t) => t.length)));
    const right = this.width - 16;
    const xs = this.runs.map((run) => this.place(run));
    const x = this.axis === "order" ? linear(0.5, Math.max(...xs, 8) + 0.5, left, right) : linear(...padded(Math.min(...xs, 0), Math.max(...xs, 1), 0.02), left, right);
    Object.assign(this, { x, y, floor });
    const svg = s("svg", { height: HEIGHT, role: "img", "aria-label": `${this.metric} of every trial and the best so far` });
    for (const [i, tick] of yTicks.entries()) {
      svg.append(
        s("line", { class: "gridline", x1: left, x2: right, y1: Math.round(y(tick)) + 0.5, y2: Math.round(y(tick)) + 0.5 }),
        s("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, texts[i]),
      );
    }
    const isOrder = this.axis === "order";
    const room = Math.floor((right - left) / 72);
    for (const tick of isOrder ? x.ticks(room).filter(Number.isInteger) : timeTicks(0, x.domain[1], room)) {
      svg.append(s("text", { x: x(tick), y: HEIGHT - 8, "text-anchor": "middle" }, isOrder ? `${tick}` : timeTick(tick)));
    }
    svg.append(s("line", { class: "axisline", x1: left, x2: right, y1: floor + 0.5, y2: floor + 0.5 }));
    this.incumbent(svg, measured, right);
    this.marks = new Map();
    for (const run of this.runs) this.mark(svg, run, y0, y1, floor);
    put(this.canvas, svg);
    this.lightUp();
  }

  /** Return a value's pixel; what is outside of the range stands at its edge, above the axis. */
  height(value) {
    return Math.min(this.floor - 6, Math.max(TOP, this.y(value)));
  }

  incumbent(svg, measured, right) {
    const better = this.goal === "maximize" ? (a, b) => a > b : (a, b) => a < b;
    let best = null;
    let d = "";
    for (const run of [...measured].sort((a, b) => this.place(a) - this.place(b))) {
      if (!run.counts || (best !== null && !better(run.value, best))) continue;
      const [px, py] = [this.x(this.place(run)), this.height(run.value)];
      d += d ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `M${px.toFixed(1)} ${py.toFixed(1)}`;
      best = run.value;
    }
    if (d) svg.append(s("path", { class: "incumbent", d: `${d}H${right}` }));
  }

  mark(svg, run, y0, y1, floor) {
    const isMeasured = Number.isFinite(run.value);
    if (!isMeasured && run.state.icon === "pending") return;
    const isOut = isMeasured && (run.value < y0 || run.value > y1);
    const py = isMeasured ? this.height(run.value) : floor - 7;
    const kind = isOut ? "edge" : run.state.icon;
    const shape = isOut ? (run.value < y0 ? "M-5 -4H5L0 5Z" : "M-5 4H5L0 -5Z") : MARKS[kind] ?? MARKS.finished;
    const isCross = !isOut && (kind === "failed" || kind === "crashed");
    const hollow = kind === "running";
    const element = s("path", {
      class: `marker${hollow ? " hollow" : ""}${this.focus.passes(run.id) ? "" : " away"}`,
      d: shape,
      transform: `translate(${this.x(this.place(run)).toFixed(1)} ${py.toFixed(1)})${this.runs.length > 400 ? " scale(0.65)" : ""}`,
      fill: isCross ? "none" : hollow ? null : run.color,
      style: isCross || hollow ? { stroke: isCross ? "var(--bad)" : run.color, "stroke-width": "2" } : null,
      onpointerenter: () => { this.focus.hover(run.id); this.showTip(run, py); },
      onclick: () => this.open(run),
    });
    this.marks.set(run.id, element);
    svg.append(element);
  }

  showTip(run, py) {
    put(
      this.tip,
      h("div", { class: "strong" }, run.title),
      h("div", { class: "head" }, `trial ${run.number} · ${run.state.word}`),
      h("div", { class: "row" }, h("span", {}, this.metric), h("b", {}, number(run.value))),
      run.state.why ? h("div", { class: "faint" }, run.state.why) : null,
    );
    this.tip.hidden = false;
    placeTip(this.tip, this.x(this.place(run)), py);
  }

  lightUp() {
    this.up?.classList.remove("up");
    this.up = this.marks?.get(this.focus.hovered);
    if (!this.up) return;
    this.up.classList.add("up");
    if (this.up.nextSibling) this.up.parentNode.append(this.up);
  }
}
