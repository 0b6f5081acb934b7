// A plot of lines, points, bars or an area over two axes, in SVG: for charts whose data are a table.

import { h, onWidth, placeTip, put, s } from "./dom.js";
import { number, tickTexts } from "./format.js";
import { linear, padded } from "./scale.js";

const TOP = 10;
const MOST_POINTS = 4000;  // of one series; more are thinned evenly

/** Return at most `most` of a list's members, evenly, the last one kept. */
export function thinned(list, most = MOST_POINTS) {
  if (list.length <= most) return list;
  const every = Math.ceil(list.length / most);
  return list.filter((_, i) => i % every === 0 || i === list.length - 1);
}

/**
 * A plot of `{series: [{label, color, mark: "line"|"points"|"bars", at: [[x, y]]}], xTitle, yTitle,
 * xNames?}`. With `xNames`, x counts the names; a bar may carry its two edges as a third and fourth
 * member.
 */
export class XYPlot {
  constructor(root, { height = 240, label = "" } = {}) {
    Object.assign(this, { root, height, label });
    root.classList.add("plot");
    this.place = h("div");
    this.tip = h("div", { class: "tip", hidden: true });
    root.append(this.place, this.tip);
    onWidth(root, (width) => { this.width = width; this.draw(); });
    root.addEventListener("pointermove", (event) => this.point(event));
    root.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  set(spec) {
    this.spec = { ...spec, series: spec.series.map((one) => ({ ...one, at: thinned(one.at.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))) })) };
    this.draw();
  }

  domains() {
    const all = this.spec.series.flatMap((one) => one.at.map((p) => [p[2] ?? p[0], p[3] ?? p[0], p[1]]));
    if (!all.length) return null;
    const hasBars = this.spec.series.some((one) => one.mark === "bars");
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [left, right, y] of all) {
      x0 = Math.min(x0, left); x1 = Math.max(x1, right);
      y0 = Math.min(y0, y); y1 = Math.max(y1, y);
    }
    if (hasBars) [y0, y1] = [Math.min(0, y0), Math.max(0, y1)];
    const x = this.spec.xNames ? [-0.5, this.spec.xNames.length - 0.5] : hasBars ? [x0, x1] : padded(x0, x1, 0.02);
    const [a, b] = padded(y0, y1, 0.06);
    return { x, y: hasBars ? [y0 === 0 ? 0 : a, y1 === 0 ? 0 : b] : [a, b] };
  }

  draw() {
    if (!this.width || !this.spec) return;
    const domain = this.domains();
    if (!domain) { put(this.place, h("p", { class: "empty faint" }, "no finite values to draw")); return; }
    const { xTitle, yTitle, xNames } = this.spec;
    const bottom = xTitle ? 38 : 22;
    const plot = this.height - TOP - bottom;
    const y = linear(...domain.y, TOP + plot, TOP);
    const yTicks = y.ticks(Math.max(3, Math.floor(plot / 40))).filter((v) => v >= domain.y[0] && v <= domain.y[1]);
    const texts = tickTexts(yTicks);
    const left = Math.max(28, 10 + 6.2 * Math.max(...texts.map((t) => t.length))) + (yTitle ? 16 : 0);
    const x = linear(...domain.x, left, this.width - 12);
    Object.assign(this, { x, y, left });
    const svg = s("svg", { height: this.height, role: "img", "aria-label": this.label });
    yTicks.forEach((tick, i) => svg.append(
      s("line", { class: "gridline", x1: left, x2: this.width - 12, y1: Math.round(y(tick)) + 0.5, y2: Math.round(y(tick)) + 0.5 }),
      s("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, texts[i])));
    for (const [at, words] of this.xTicks(xNames, x)) svg.append(s("text", { x: at, y: TOP + plot + 16, "text-anchor": at > this.width - 24 ? "end" : "middle" }, words));
    svg.append(s("line", { class: "axisline", x1: left, x2: this.width - 12, y1: Math.round(y(Math.max(domain.y[0], 0))) + 0.5, y2: Math.round(y(Math.max(domain.y[0], 0))) + 0.5 }));
    if (xTitle) svg.append(s("text", { class: "label", x: (left + this.width - 12) / 2, y: this.height - 6, "text-anchor": "middle" }, xTitle));
    if (yTitle) svg.append(s("text", { class: "label", transform: `translate(12 ${TOP + plot / 2}) rotate(-90)`, "text-anchor": "middle" }, yTitle));
    for (const one of this.spec.series) svg.append(this.marks(one, x, y, domain));
    put(this.place, svg);
  }

  xTicks(names, x) {
    const room = Math.max(2, Math.floor((this.width - this.left) / 72));
    if (!names) {
      const ticks = x.ticks(room).filter((v) => v >= x.domain[0] && v <= x.domain[1]);
      return ticks.map((v, i) => [x(v), tickTexts(ticks)[i]]);
    }
    const every = Math.max(1, Math.ceil(names.length / room));
    const chars = Math.max(4, Math.floor(((this.width - this.left) / Math.min(names.length, room)) / 6.4));
    return names.map((name, i) => [x(i), name.length > chars ? `${name.slice(0, chars - 1)}…` : name]).filter((_, i) => i % every === 0);
  }

  marks(one, x, y, domain) {
    const group = s("g", { fill: one.color, stroke: one.color });
    if (one.mark === "line") group.append(s("path", { class: "series", d: one.at.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("") }));
    if (one.mark === "points" || one.at.length === 1) for (const [a, b] of one.at) group.append(s("circle", { class: "spot", cx: x(a).toFixed(1), cy: y(b).toFixed(1), r: one.at.length > 500 ? 2 : 3.5 }));
    if (one.mark === "bars") {
      const zero = y(Math.min(Math.max(0, domain.y[0]), domain.y[1]));
      for (const [a, b, lo, hi] of one.at) {
        const [from, to] = [x(lo ?? a - 0.38), x(hi ?? a + 0.38)];
        group.append(s("rect", { class: "bar", x: Math.min(from, to) + 0.5, width: Math.max(1, Math.abs(to - from) - 1), y: Math.min(y(b), zero), height: Math.max(0.5, Math.abs(zero - y(b))) }));
      }
    }
    return group;
  }

  /** Say what is nearest to the pointer. */
  point(event) {
    if (!this.x || !this.place.firstChild) return;
    const box = this.root.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = { far: 32 * 32 };
    for (const one of this.spec.series) for (const p of one.at) {
      const [dx, dy] = [this.x(p[0]) - px, one.mark === "bars" ? 0 : this.y(p[1]) - py];
      if (dx * dx + dy * dy < best.far) best = { far: dx * dx + dy * dy, one, p };
    }
    this.tip.hidden = !best.one;
    if (!best.one) return;
    const [a, b, lo, hi] = best.p;
    const where = this.spec.xNames ? this.spec.xNames[a] : lo !== undefined ? `${number(lo)} – ${number(hi)}` : number(a);
    put(this.tip, h("div", { class: "head" }, `${this.spec.xTitle ?? "x"}: ${where}`),
      h("div", { class: "row" }, h("i", { class: "dot", style: { background: best.one.color } }), h("span", {}, best.one.label ?? this.spec.yTitle ?? "y"), h("b", {}, number(b))));
    placeTip(this.tip, px, py);
  }
}

/** Return the legend of a plot's series; nothing for a single one. */
export function legendOf(series) {
  const named = series.filter((one) => one.label !== null && one.label !== undefined && one.label !== "");
  if (named.length < 2) return null;
  return h("div", { class: "legend" }, named.slice(0, 24).map((one) => h("span", {}, h("i", { class: "dot", style: { background: one.color } }), one.label)),
    named.length > 24 ? h("span", {}, `and ${named.length - 24} more`) : null);
}
