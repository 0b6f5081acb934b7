// Line charts in SVG: one shared crosshair, smoothing with the raw line behind, zoom by dragging.

import { h, onWidth, placeTip, put, s } from "./dom.js";
import { duration, number, tickTexts } from "./format.js";
import { linear, log, padded, timeTick, timeTicks } from "./scale.js";

const TOP = 10;
const BOTTOM = 22;
const TIP_ROWS = 9;

/** Charts of a group share the crosshair. */
export class Group extends EventTarget {
  point(x, from) {
    this.dispatchEvent(new CustomEvent("x", { detail: { x, from } }));
  }
}

/** Return y smoothed: an exponential mean whose first values are not biased toward 0. */
export function smooth(y, weight) {
  if (!(weight > 0)) return y;
  let last = 0;
  let mass = 0;
  return y.map((v) => {
    if (!Number.isFinite(v)) return v;
    last = last * weight + (1 - weight) * v;
    mass = mass * weight + (1 - weight);
    return last / mass;
  });
}

const xText = { step: (v) => `step ${number(v)}`, time: (v) => duration(v) };

/** Return a step as a tick's text: 12k, 1.5M. */
export const stepTick = (v) => (v >= 1e6 ? `${number(v / 1e6)}M` : v >= 1e4 ? `${number(v / 1e3)}k` : number(v));

const xTick = { step: stepTick, time: timeTick };

/** Return the index of the value nearest to x in a rising list. */
function nearest(list, x) {
  let lo = 0;
  let hi = list.length - 1;
  while (hi - lo > 1) {
    const mid = (lo + hi) >> 1;
    if (list[mid] < x) lo = mid; else hi = mid;
  }
  return Math.abs(list[lo] - x) <= Math.abs(list[hi] - x) ? lo : hi;
}

/** Return an SVG path through points, broken where a value is not finite. */
function path(xs, ys, x, y) {
  let d = "";
  let pen = "M";
  for (let i = 0; i < xs.length; i += 1) {
    const py = y(ys[i]);
    if (!Number.isFinite(ys[i]) || !Number.isFinite(py)) { pen = "M"; continue; }
    d += `${pen}${x(xs[i]).toFixed(1)} ${py.toFixed(1)}`;
    pen = "L";
  }
  return d;
}

/**
 * A chart of series `{id, label, color, x: number[], y: number[], lo?, hi?, back?}`; x rises.
 * `back` series are drawn faint. `focus` (optional) lights a run up everywhere.
 */
export class LineChart {
  constructor(root, { height = 180, group = null, focus = null, label = "", open = null } = {}) {
    this.root = root;
    this.height = height;
    this.group = group;
    this.focus = focus;
    this.label = label;
    this.open = open;
    this.state = { series: [], smoothing: 0, isLog: false, xKind: "step" };
    this.zoom = null;
    root.classList.add("plot");
    this.canvas = h("div");
    this.tip = h("div", { class: "tip", hidden: true });
    root.append(this.canvas, this.tip);
    onWidth(root, (width) => { this.width = width; this.draw(); });
    group?.addEventListener("x", (event) => {
      if (event.detail.from !== this) this.cross(event.detail.x, null);
    });
    focus?.addEventListener("hover", () => this.lightUp());
    focus?.addEventListener("brush", () => this.draw());
  }

  set(state) {
    Object.assign(this.state, state);
    this.draw();
  }

  drawn() {
    const { series } = this.state;
    return this.focus?.brushed ? series.filter((one) => this.focus.passes(one.id)) : series;
  }

  domains(series) {
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const one of series) {
      for (let i = 0; i < one.x.length; i += 1) {
        const [lo, hi] = [one.lo?.[i] ?? one.y[i], one.hi?.[i] ?? one.y[i]];
        const v = one.x[i];
        if (this.zoom && (v < this.zoom[0] || v > this.zoom[1])) continue;
        if (v < x0) x0 = v;
        if (v > x1) x1 = v;
        if (Number.isFinite(lo) && (!this.state.isLog || lo > 0) && lo < y0) y0 = lo;
        if (Number.isFinite(hi) && hi > y1) y1 = hi;
      }
    }
    if (this.zoom) [x0, x1] = this.zoom;
    if (x0 > x1) [x0, x1] = [0, 1];
    if (x0 === x1) [x0, x1] = [x0 - 0.5, x1 + 0.5];
    return { x: [x0, x1], y: [y0, y1] };
  }

  draw() {
    if (!this.width) return;
    const series = this.drawn();
    const { smoothing, isLog, xKind } = this.state;
    const domain = this.domains(series);
    if (!(domain.y[0] <= domain.y[1])) {
      const why = this.state.series.length ? "no finite values here" : "nothing logged yet";
      put(this.canvas, h("p", { class: "empty faint" }, why));
      return;
    }
    const [y0, y1] = isLog ? domain.y : padded(...domain.y);
    const plot = this.height - TOP - BOTTOM;
    const y = isLog && y0 > 0 ? log(y0, y1 > y0 ? y1 : y0 * 10, TOP + plot, TOP) : linear(y0, y1, TOP + plot, TOP);
    const yTicks = y.ticks(Math.max(3, Math.floor(plot / 36)));
    const texts = tickTexts(yTicks);
    const left = Math.max(28, 10 + 6.2 * Math.max(...texts.map((t) => t.length)));
    const x = linear(...domain.x, left, this.width - 12);
    Object.assign(this, { x, y, left, series });

    const svg = s("svg", { height: this.height, role: "img", "aria-label": this.label });
    yTicks.forEach((tick, i) => svg.append(
      s("line", { class: "gridline", x1: left, x2: this.width - 12, y1: Math.round(y(tick)) + 0.5, y2: Math.round(y(tick)) + 0.5 }),
      s("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, texts[i]),
    ));
    const room = Math.max(2, Math.floor((this.width - left) / 80));
    const xTicks = xKind === "time" ? timeTicks(...domain.x, room) : x.ticks(room).filter(Number.isInteger);
    for (const tick of xTicks.filter((v) => v >= domain.x[0] && v <= domain.x[1])) {
      const isLast = x(tick) > this.width - 32;
      svg.append(s("text", { x: isLast ? this.width - 10 : x(tick), y: this.height - 6, "text-anchor": isLast ? "end" : "middle" }, xTick[xKind](tick)));
    }
    svg.append(s("line", { class: "axisline", x1: left, x2: this.width - 12, y1: TOP + plot + 0.5, y2: TOP + plot + 0.5 }));
    this.paths = new Map();
    const clip = s("svg", { x: left - 2, y: 0, width: Math.max(0, this.width - left - 6), height: TOP + plot + 2, viewBox: `${left - 2} 0 ${Math.max(1, this.width - left - 6)} ${TOP + plot + 2}` });
    clip.style.overflow = "hidden";
    for (const one of [...series].sort((a, b) => Number(!a.back) - Number(!b.back))) clip.append(this.line(one, x, y, smoothing));
    this.crossLine = s("line", { class: "cross", y1: TOP, y2: TOP + plot, visibility: "hidden" });
    this.band = s("rect", { class: "zoom", y: TOP, height: plot, width: 0 });
    const hit = s("rect", { class: "hit", x: left, y: 0, width: Math.max(0, this.width - left - 12), height: TOP + plot });
    svg.append(clip, this.band, this.crossLine, hit);
    this.listen(hit);
    put(this.canvas, svg);
    this.lightUp();
    if (this.pointed) this.cross(...this.pointed);
  }

  line(one, x, y, smoothing) {
    const group = s("g", { class: one.back ? "back" : null });
    if (one.lo && one.hi && !smoothing && !one.back) {
      const there = path(one.x, one.hi, x, y);
      const back = path([...one.x].reverse(), [...one.lo].reverse(), x, y).replace(/^M/, "L");
      if (there && back) group.append(s("path", { class: "band", d: `${there}${back}Z`, fill: one.color }));
    }
    if (smoothing && !one.back) group.append(s("path", { class: "series raw", d: path(one.x, one.y, x, y), stroke: one.color }));
    one.shown = smooth(one.y, smoothing);
    const main = s("path", { class: "series", d: path(one.x, one.shown, x, y), stroke: one.color, "stroke-dasharray": one.dash ?? null });
    group.append(main);
    if (one.x.length === 1 && Number.isFinite(one.shown[0])) {
      group.append(s("circle", { cx: x(one.x[0]), cy: y(one.shown[0]), r: 3, fill: one.color }));
    }
    this.paths.set(one.id, main);
    return group;
  }

  lightUp() {
    if (!this.focus || !this.paths) return;
    this.up?.classList.remove("up");
    this.up = this.paths.get(this.focus.hovered);
    this.up?.classList.add("up");
  }

  listen(hit) {
    let from = null;
    const at = (event) => {
      const box = hit.ownerSVGElement.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    hit.addEventListener("pointermove", (event) => {
      const [px, py] = at(event);
      if (from !== null) {
        this.band.setAttribute("x", Math.min(from, px));
        this.band.setAttribute("width", Math.abs(px - from));
      }
      this.cross(this.x.invert(px), py);
      this.group?.point(this.x.invert(px), this);
    });
    hit.addEventListener("pointerleave", () => {
      this.cross(null, null);
      this.group?.point(null, this);
      this.focus?.hover(null);
    });
    hit.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") return;
      from = at(event)[0];
      hit.setPointerCapture(event.pointerId);
    });
    hit.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const to = at(event)[0];
      const isDrag = Math.abs(to - from) > 6;
      if (isDrag) this.zoom = [this.x.invert(Math.min(from, to)), this.x.invert(Math.max(from, to))];
      from = null;
      if (isDrag) this.draw();
      else if (this.open && this.closest) this.open(this.closest);
    });
    hit.addEventListener("dblclick", () => { this.zoom = null; this.draw(); });
  }

  /** Show the crosshair at x; with `py` (pixels) the tooltip too. */
  cross(x, py) {
    this.pointed = x === null ? null : [x, py];
    if (!this.crossLine?.isConnected) return;
    const isIn = x !== null && x >= this.x.domain[0] && x <= this.x.domain[1];
    this.crossLine.setAttribute("visibility", isIn ? "visible" : "hidden");
    this.tip.hidden = !isIn || py === null;
    if (!isIn) return;
    this.crossLine.setAttribute("x1", this.x(x));
    this.crossLine.setAttribute("x2", this.x(x));
    if (py === null) return;
    const rows = this.series.filter((one) => one.x.length).map((one) => {
      const i = nearest(one.x, x);
      return { one, i, y: one.shown[i], far: Math.abs(this.y(one.shown[i]) - py) };
    }).filter((row) => Number.isFinite(row.y) && Math.abs(this.x(row.one.x[row.i]) - this.x(x)) < 60);
    rows.sort((a, b) => a.far - b.far);
    this.closest = rows[0]?.one.id ?? null;
    if (this.focus) this.focus.hover(rows[0]?.far < 24 ? rows[0].one.id : null);
    const shown = rows.slice(0, TIP_ROWS).sort((a, b) => b.y - a.y);
    put(
      this.tip,
      h("div", { class: "head" }, xText[this.state.xKind](rows[0] ? rows[0].one.x[rows[0].i] : x)),
      shown.map(({ one, y }) => h("div", { class: "row" }, h("i", { class: "dot", style: { background: one.color } }), h("span", {}, one.label), h("b", {}, number(y)))),
      rows.length > shown.length ? h("div", { class: "faint" }, `and ${rows.length - shown.length} more`) : null,
    );
    placeTip(this.tip, this.x(x), py);
  }
}
