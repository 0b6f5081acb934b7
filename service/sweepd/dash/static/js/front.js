// The front of a sweep with several metrics: every trial by two of them, and the line of the best.

import { domainOf } from "./bestsofar.js";
import { h, onWidth, placeTip, put, s } from "./dom.js";
import { number, tickTexts } from "./format.js";
import { linear } from "./scale.js";

const TOP = 14;
const BOTTOM = 40;
const HEIGHT = 320;
const RIGHT = 18;

/** Return the runs that no other one beats in the two metrics, the best in the first one first. */
export function frontOf(runs, [a, b]) {
  const sign = (metric) => (metric.goal === "maximize" ? -1 : 1);
  const by = (run, metric) => sign(metric) * run.values[metric.name];
  const sorted = [...runs].sort((one, two) => by(one, a) - by(two, a) || by(one, b) - by(two, b));
  const found = [];
  for (const run of sorted) {
    if (!found.length || by(run, b) < by(found[found.length - 1], b)) found.push(run);
  }
  return found;
}

/** The chart; `axes` holds the choice of two metrics where there are more, `open(run)` is called on a click. */
export class FrontChart {
  constructor(root, { axes, focus, open }) {
    Object.assign(this, { root, axes, focus, open });
    root.classList.add("plot");
    this.canvas = h("div");
    this.tip = h("div", { class: "tip", hidden: true });
    root.append(this.canvas, this.tip);
    onWidth(root, (width) => { this.width = width; this.draw(); });
    focus.addEventListener("hover", () => this.lightUp());
    focus.addEventListener("brush", () => { for (const [id, mark] of this.marks ?? []) mark.classList.toggle("away", !focus.passes(id)); });
    root.addEventListener("pointerleave", () => { this.tip.hidden = true; this.focus.hover(null); });
  }

  set({ runs, metrics }) {
    this.runs = runs.filter((run) => run.values && run.state.tone !== "bad");  // one that failed is of no use
    const names = metrics.map((one) => one.name).join("\n");
    if (names !== this.names) {
      Object.assign(this, { metrics, names, pair: metrics.slice(0, 2) });
      this.choices();
    }
    this.draw();
  }

  choices() {
    if (this.metrics.length < 3) { put(this.axes); return; }
    put(this.axes, ["across", "up"].map((way, i) => h("label", {}, h("span", { class: "note" }, `${way} `),
      h("select", { class: "field", onchange: (event) => { this.pair[i] = this.metrics[event.target.selectedIndex]; this.draw(); } },
        this.metrics.map((one, k) => h("option", { selected: k === i }, one.name))))));
  }

  draw() {
    if (!this.width || !this.runs) return;
    if (!this.runs.length) { put(this.canvas, h("p", { class: "empty" }, "No trial has ended with every metric yet.")); return; }
    const [a, b] = this.pair;
    const [ends, floor, right] = [this.pair.map((one) => domainOf(this.runs.map((run) => run.values[one.name]), one.goal)), HEIGHT - BOTTOM, this.width - RIGHT];
    const y = linear(...ends[1], floor, TOP);
    const yTicks = y.ticks(6).filter((t) => t >= ends[1][0] && t <= ends[1][1]);
    const texts = tickTexts(yTicks);
    const left = Math.max(36, 12 + 6.2 * Math.max(...texts.map((t) => t.length))) + 18;
    const x = linear(...ends[0], left, right);
    const svg = s("svg", { height: HEIGHT, role: "img", "aria-label": `${b.name} over ${a.name} of every trial, and the front` });
    for (const [i, tick] of yTicks.entries()) {
      svg.append(
        s("line", { class: "gridline", x1: left, x2: right, y1: Math.round(y(tick)) + 0.5, y2: Math.round(y(tick)) + 0.5 }),
        s("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, texts[i]),
      );
    }
    const xTicks = x.ticks(Math.floor((right - left) / 84)).filter((t) => t >= ends[0][0] && t <= ends[0][1]);
    for (const [i, text] of tickTexts(xTicks).entries()) {
      svg.append(
        s("line", { class: "gridline", x1: Math.round(x(xTicks[i])) + 0.5, x2: Math.round(x(xTicks[i])) + 0.5, y1: TOP, y2: floor }),
        s("text", { x: x(xTicks[i]), y: floor + 16, "text-anchor": "middle" }, text),
      );
    }
    const way = (metric) => `${metric.name} (${metric.goal === "maximize" ? "higher" : "lower"} is better)`;
    svg.append(
      s("line", { class: "axisline", x1: left, x2: right, y1: floor + 0.5, y2: floor + 0.5 }),
      s("text", { class: "label", x: (left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, way(a)),
      s("text", { class: "label", transform: `translate(12 ${(TOP + floor) / 2}) rotate(-90)`, "text-anchor": "middle" }, way(b)),
    );
    const clamp = (at, lo, hi) => Math.min(Math.max(at, lo), hi);
    this.at = (run) => [clamp(x(run.values[a.name]), left, right), clamp(y(run.values[b.name]), TOP, floor)];
    this.line(svg, { left, right, floor });
    this.marks = new Map();
    for (const run of [...this.runs].sort((one, two) => one.front - two.front)) this.mark(svg, run);
    put(this.canvas, svg);
    this.lightUp();
  }

  /** Draw the edge of what the front beats: steps from its one end to the other. */
  line(svg, { left, right, floor }) {
    const [a, b] = this.pair;
    const steps = frontOf(this.runs.filter((run) => run.front || this.metrics.length > 2), this.pair);
    if (!steps.length) return;
    const [first] = steps.map(this.at);
    let d = `M${first[0].toFixed(1)} ${b.goal === "maximize" ? floor : TOP}`;
    for (const [px, py] of steps.map(this.at)) d += `H${px.toFixed(1)}V${py.toFixed(1)}`;
    svg.append(s("path", { class: "incumbent", d: `${d}H${a.goal === "maximize" ? left : right}` }));
  }

  mark(svg, run) {
    const [px, py] = this.at(run);
    const element = s("circle", {
      class: `marker${run.front ? "" : " behind"}${this.focus.passes(run.id) ? "" : " away"}`,
      cx: px.toFixed(1), cy: py.toFixed(1), r: run.front ? 6 : 4, fill: run.color,
      onpointerenter: () => { this.focus.hover(run.id); this.showTip(run, px, py); },
      onclick: () => this.open(run),
    });
    this.marks.set(run.id, element);
    svg.append(element);
  }

  showTip(run, px, py) {
    put(
      this.tip,
      h("div", { class: "strong" }, run.title),
      h("div", { class: "head" }, `trial ${run.number} · ${run.front ? "on the front" : run.state.word}`),
      this.metrics.map(({ name }) => h("div", { class: "row" }, h("span", {}, name), h("b", {}, number(run.values[name])))),
    );
    this.tip.hidden = false;
    placeTip(this.tip, px, py);
  }

  lightUp() {
    this.up?.classList.remove("up");
    this.up = this.marks?.get(this.focus.hovered);
    this.up?.classList.add("up");
  }
}
