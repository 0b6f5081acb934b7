// Parallel coordinates: a line per run over the searched parameters and the metric.
// Lines are on a canvas (thousands are fine), axes and brushes in SVG above it.
// Brushes: several to an axis are OR-ed, axes are AND-ed.

import { Axis, NONE } from "./axes.js";
import { metricRamp, onScheme } from "./color.js";
import { h, onWidth, placeTip, put, s } from "./dom.js";
import { number, value as text } from "./format.js";

const TOP = 52;
const PLOT = 292;
const HEIGHT = TOP + PLOT + NONE + 6;
const LEFT = 44;
const RIGHT = 76;
const GAP = 96;      // narrowest distance of two axes, pixels
const NEAR = 9;      // how near a line must be to be pointed at, pixels
const FIRST = 5;     // that many of the best are drawn thicker

const ease = (u) => u * u * (3 - 2 * u);

/** The panel. `onBrush(ids | null, chips)` is called whenever the brushes change. */
export class Parallel {
  constructor(root, { focus, open, onBrush, onOrder = () => {} }) {
    Object.assign(this, { root, focus, open, onBrush, onOrder });
    this.axes = [];
    this.runs = [];
    this.canvas = h("canvas");
    this.above = h("canvas");  // what is pointed at and picked: the lines below need not be drawn again
    this.svg = s("svg", { height: HEIGHT, role: "img", "aria-label": "Parallel coordinates: a line per run over the searched parameters and the metric" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.sheet = h("div", { class: "parallel" }, this.canvas, this.above, this.svg, this.tip);
    root.append(this.sheet);
    onWidth(root, (width) => { this.room = width; this.draw(); });
    onScheme(() => this.paint());
    for (const kind of ["hover", "pick"]) focus.addEventListener(kind, () => this.paintAbove());
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => { this.tip.hidden = true; focus.hover(null); });
    this.svg.addEventListener("click", (event) => {
      if (event.target === this.svg && this.focus.hovered) this.open(this.focus.hovered);
    });
  }

  /** Take axes and runs `{id, title, values: {axis: value}, rank (0 worst … 1 best, null unknown), isBad}`. */
  set({ axes, runs, order, brushes }) {
    const old = new Map(this.axes.map((axis) => [axis.name, axis]));
    const names = order ?? (this.axes.length ? this.axes.map((axis) => axis.name) : null);
    this.axes = axes.map((spec) => {
      const axis = old.get(spec.name);
      if (axis) { axis.adopt(spec); return axis; }
      return new Axis(spec);
    });
    if (names) this.axes.sort((a, b) => place(names, a.name) - place(names, b.name));
    for (const axis of this.axes) if (brushes?.has(axis.name)) axis.load(brushes.get(axis.name));
    this.runs = [...runs].sort((a, b) => (a.rank ?? -1) - (b.rank ?? -1));
    if (this.gesture) return;  // never move what is under the pointer
    const shape = JSON.stringify([axes, this.runs.some((run) => run.rank === null), this.runs.length > 0]);
    if (shape !== this.shape) { this.shape = shape; this.draw(); }
    this.tell();
  }

  clear(name = null, index = null) {
    for (const axis of this.axes) {
      if (name !== null && axis.name !== name) continue;
      if (index === null) axis.brushes = []; else axis.brushes.splice(index, 1);
    }
    this.draw();
    this.tell();
  }

  tell() {
    const chips = this.axes.flatMap((axis) => axis.brushes.map((brush, index) => ({ name: axis.name, index, text: `${axis.label ?? axis.name}: ${axis.words(brush)}` })));
    const ids = chips.length === 0 ? null : new Set(this.runs.filter((run) => this.axes.every((axis) => axis.passes(run.values[axis.name]))).map((run) => run.id));
    this.paint(ids);
    this.onBrush(ids, chips, this.axes.filter((a) => a.brushes.length).map((a) => [a.name, a.dump()]));
  }

  draw() {
    if (!this.room || this.axes.length === 0) return;
    this.width = Math.max(this.room, LEFT + RIGHT + GAP * (this.axes.length - 1));
    const step = this.axes.length > 1 ? (this.width - LEFT - RIGHT) / (this.axes.length - 1) : 0;
    this.axes.forEach((axis, i) => {
      axis.lay(TOP, TOP + PLOT);
      axis.x = this.axes.length > 1 ? LEFT + i * step : this.width / 2;
    });
    this.sheet.style.width = `${this.width}px`;
    this.svg.setAttribute("width", this.width);
    this.svg.style.width = `${this.width}px`;
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.above]) {
      Object.assign(canvas, { width: this.width * ratio, height: HEIGHT * ratio });
      Object.assign(canvas.style, { width: `${this.width}px`, height: `${HEIGHT}px` });
    }
    put(this.svg, this.axes.map((axis) => this.axis(axis, step)));
    this.paint();
  }

  axis(axis, step) {
    const group = s("g", { class: "axis", transform: `translate(${axis.x} 0)`, data: { axis: axis.name } });
    const room = Math.max(8, Math.min(40, Math.floor((this.axes.length > 1 ? step - 16 : 320) / 7.4)));
    const full = axis.label ?? axis.name;
    const short = full.length > room ? `${full.slice(0, room - 1)}…` : full;
    const half = short.length * 3.7;
    const isFirst = axis === this.axes[0] && half > LEFT;
    const isLast = axis === this.axes[this.axes.length - 1] && half > RIGHT;
    const name = s("text", { class: "name", y: 16, x: isFirst ? -LEFT + 8 : isLast ? RIGHT - 8 : 0, "text-anchor": isFirst ? "start" : isLast ? "end" : "middle", onpointerdown: (event) => this.drag(event, axis, group) }, short, s("title", {}, `${full}: drag to move this axis`));
    const hint = axis.role === "metric" ? (axis.goal === "maximize" ? "higher is better" : "lower is better") : axis.kind === "band" ? "" : axis.kind;
    const unit = s("text", { class: "unit", y: 32, "text-anchor": "middle" },
      axis.canSwitch ? s("tspan", { onclick: () => { axis.kind = axis.kind === "log" ? "linear" : "log"; this.draw(); this.tell(); } }, `${hint}  `, s("title", {}, `${axis.kind} scale: click for the other`)) : s("tspan", {}, hint ? `${hint}  ` : ""),
      s("tspan", { onclick: () => { axis.isFlipped = !axis.isFlipped; this.draw(); } }, axis.isFlipped ? "↓" : "↑", s("title", {}, "turn this axis over")));
    group.append(name, unit, s("line", { class: "bar", y1: TOP, y2: TOP + PLOT }));
    if (axis.kind === "band") axis.keys.forEach((_, i) => {
      const [a, b] = [axis.scale(i + 0.12), axis.scale(i + 0.88)].sort((p, q) => p - q);
      group.append(s("rect", { class: "bandbox", x: -7, width: 14, y: a, height: b - a, rx: 4 }));
    });
    const ticks = axis.ticks();
    for (const tick of ticks) {
      const clipped = tick.text.length > 18 ? `${tick.text.slice(0, 17)}…` : tick.text;
      group.append(s("g", { class: "tick", transform: `translate(0 ${tick.at.toFixed(1)})` },
        axis.kind === "band" ? null : s("line", { x1: -3, x2: 3 }), s("text", { x: 10, y: 4 }, clipped, s("title", {}, tick.text))));
    }
    if (axis.clamp) {
      const at = axis.scale(axis.clamp === "low" ? axis.lo : axis.hi);
      group.append(s("g", { class: "tick", transform: `translate(0 ${at})` }, s("text", { x: 10, y: 4 }, axis.clamp === "low" ? `≤ ${number(axis.lo)}` : `≥ ${number(axis.hi)}`)));
    }
    if (this.runs.some((run) => axis.unit(run.values[axis.name]) === null)) {
      group.append(s("g", { class: "tick", transform: `translate(0 ${axis.none})` }, s("line", { x1: -5, x2: 5 }), s("text", { x: 10, y: 4 }, "none")));
    }
    const catcher = s("rect", { class: "catch", x: -14, width: 28, y: TOP - 6, height: PLOT + NONE + 8, onpointerdown: (event) => this.brush(event, axis, group, null) });
    group.append(catcher);
    this.brushMarks(axis, group);
    return group;
  }

  brushMarks(axis, group) {
    for (const old of group.querySelectorAll(".brush, .edge")) old.remove();
    axis.brushes.forEach((brush, index) => {
      const [up, down] = axis.span(brush);
      const height = Math.max(4, down - up);
      group.append(s("rect", { class: "brush", x: -9, width: 18, rx: 3, y: up, height, onpointerdown: (event) => this.brush(event, axis, group, { index, edge: null }) }, s("title", {}, `${axis.words(brush)}: drag to move, click to remove`)));
      for (const edge of ["up", "down"]) {
        group.append(s("rect", { class: "edge", x: -9, width: 18, height: 8, y: (edge === "up" ? up : up + height) - 4, onpointerdown: (event) => this.brush(event, axis, group, { index, edge }) }));
      }
    });
  }

  /** Make a brush (`held` null), move one, or move one edge of it. */
  brush(event, axis, group, held) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.gesture = true;
    this.tip.hidden = true;
    const box = this.svg.getBoundingClientRect();
    const from = event.clientY - box.top;
    const index = held ? held.index : axis.brushes.length;
    const [up, down] = held ? axis.span(axis.brushes[index]) : [from, from];
    let isMoved = false;
    const move = (e) => {
      const at = e.clientY - box.top;
      if (!isMoved && Math.abs(at - from) < 4) return;
      isMoved = true;
      const by = at - from;
      const ends = !held ? [from, at] : held.edge === "up" ? [up + by, down] : held.edge === "down" ? [up, down + by] : [up + by, down + by];
      axis.brushes[index] = axis.brushOf(...ends);
      this.frame ??= requestAnimationFrame(() => { this.frame = null; this.brushMarks(axis, group); this.tell(); });
    };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      this.gesture = false;
      if (!isMoved && held) axis.brushes.splice(index, 1);
      else if (!isMoved && axis.kind === "band") axis.brushes.push(axis.brushOf(from, from));
      else if (!isMoved && from > axis.bottom + 4) axis.brushes.push(axis.brushOf(axis.bottom + 6, axis.bottom + NONE));
      this.draw();
      this.tell();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  }

  /** Move an axis sideways. */
  drag(event, axis, group) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.gesture = true;
    const from = event.clientX;
    group.classList.add("moving");
    const x = axis.x;
    const move = (e) => {
      axis.x = x + e.clientX - from;
      group.setAttribute("transform", `translate(${axis.x} 0)`);
      this.axes.sort((a, b) => a.x - b.x);
      this.paint();
    };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      this.gesture = false;
      this.draw();
      this.onOrder(this.axes.map((one) => one.name));
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  }

  /** Return the points of a run's line. */
  path(run) {
    return this.axes.map((axis) => [axis.x, axis.at(run.values[axis.name], run.id)]);
  }

  /** Return a cleared pen for a canvas. */
  pen(canvas) {
    const pen = canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, HEIGHT);
    return pen;
  }

  trace(pen, points) {
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (let i = 1; i < points.length; i += 1) {
      const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
      const third = (x1 - x0) / 3;
      pen.bezierCurveTo(x0 + third, y0, x1 - third, y1, x1, y1);
    }
    pen.stroke();
  }

  /** Draw the lines: what is brushed away first, then worst to best. */
  paint(brushed = this.focus.brushed) {
    if (!this.width) return;
    const pen = this.pen(this.canvas);
    const color = metricRamp();
    const css = getComputedStyle(document.documentElement);
    const ghost = css.getPropertyValue("--ghost").trim();
    const passes = (run) => brushed === null || brushed.has(run.id);
    const lit = this.runs.filter(passes);
    const alpha = Math.min(0.9, Math.max(0.14, 45 / Math.max(1, lit.length)));
    pen.lineWidth = 1;
    pen.strokeStyle = ghost;
    pen.globalAlpha = Math.min(0.4, 24 / Math.max(1, this.runs.length));
    for (const run of this.runs) if (!passes(run)) this.trace(pen, this.path(run));
    const best = new Set(lit.slice(-FIRST).filter((run) => run.rank !== null).map((run) => run.id));
    for (const run of lit) {
      const isKnown = run.rank !== null;
      pen.setLineDash(isKnown && !run.isBad ? [] : [4, 4]);
      pen.strokeStyle = isKnown ? color(run.rank) : ghost;
      pen.globalAlpha = best.has(run.id) ? 1 : isKnown ? alpha : Math.min(0.8, alpha);
      pen.lineWidth = best.has(run.id) ? 2.25 : 1.25;
      this.trace(pen, this.path(run));
    }
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    for (const axis of this.axes) if (axis.role === "metric") this.bar(pen, axis, color);
    this.paintAbove();
  }

  /** Draw what is pointed at and what is picked. */
  paintAbove() {
    if (!this.width) return;
    const pen = this.pen(this.above);
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--text").trim();
    for (const run of this.runs) {
      const isUp = run.id === this.focus.hovered;
      if (!isUp && !this.focus.picked.has(run.id)) continue;
      const points = this.path(run);
      pen.lineWidth = isUp ? 3 : 2.5;
      pen.strokeStyle = isUp ? ink : run.color;
      this.trace(pen, points);
      pen.fillStyle = pen.strokeStyle;
      for (const [x, y] of points) { pen.beginPath(); pen.arc(x, y, 3.5, 0, 7); pen.fill(); }
    }
  }

  bar(pen, axis, color) {
    const best = axis.goal === "maximize" ? axis.scale(axis.hi) : axis.scale(axis.lo);
    const worst = axis.goal === "maximize" ? axis.scale(axis.lo) : axis.scale(axis.hi);
    const fill = pen.createLinearGradient(0, worst, 0, best);
    for (let i = 0; i <= 6; i += 1) fill.addColorStop(i / 6, color(i / 6));
    pen.fillStyle = fill;
    pen.fillRect(axis.x - 3, TOP, 6, PLOT);
  }

  /** Point at the nearest line. */
  point(event) {
    if (this.gesture || event.target.closest(".brush, .edge, .name, .unit")) return;
    const box = this.svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const right = this.axes.findIndex((axis) => axis.x >= px);
    let [found, far] = [null, NEAR];
    if (right > 0 && py > TOP - 8) {
      const [a, b] = [this.axes[right - 1], this.axes[right]];
      const u = ease((px - a.x) / (b.x - a.x || 1));
      for (const run of this.runs) {
        if (!this.focus.passes(run.id)) continue;
        const y0 = a.at(run.values[a.name], run.id);
        const y = y0 + (b.at(run.values[b.name], run.id) - y0) * u;
        if (Math.abs(y - py) <= far) { far = Math.abs(y - py); found = run; }
      }
    }
    this.focus.hover(found?.id ?? null);
    this.svg.style.cursor = found ? "pointer" : "";
    this.tip.hidden = !found;
    if (!found) return;
    put(this.tip, h("div", { class: "strong" }, found.title), this.axes.map((axis) => h("div", { class: "row" }, h("span", { class: "dim" }, axis.label ?? axis.name), h("span"), h("b", {}, text(found.values[axis.name])))));
    placeTip(this.tip, px, py);
  }
}

function place(names, name) {
  const at = names.indexOf(name);
  return at < 0 ? names.length : at;
}
