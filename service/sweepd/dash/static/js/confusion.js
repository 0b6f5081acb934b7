// A confusion matrix: a row per actual class, shaded by its share of that row.

import { ramp, onScheme } from "./color.js";
import { h, onWidth, placeTip, put, s } from "./dom.js";
import { number } from "./format.js";

const MOST = 60;  // classes that are drawn
const CHARS = 14;

const short = (text) => (text.length > CHARS ? `${text.slice(0, CHARS - 1)}…` : text);

/** A matrix of `[actual, predicted, count]`. */
export class Confusion {
  constructor(root, { label = "" } = {}) {
    Object.assign(this, { root, label });
    root.classList.add("plot");
    this.place = h("div");
    this.tip = h("div", { class: "tip", hidden: true });
    root.append(this.place, this.tip);
    onWidth(root, (width) => { this.width = width; this.draw(); });
    onScheme(() => this.draw());
  }

  set({ rows }) {
    this.names = [...new Set(rows.flatMap(([actual, predicted]) => [String(actual), String(predicted)]))].slice(0, MOST);
    const place = new Map(this.names.map((name, i) => [name, i]));
    this.counts = this.names.map(() => new Array(this.names.length).fill(0));
    for (const [actual, predicted, count] of rows) {
      const [i, j] = [place.get(String(actual)), place.get(String(predicted))];
      if (i !== undefined && j !== undefined && Number.isFinite(count)) this.counts[i][j] += count;
    }
    this.draw();
  }

  draw() {
    if (!this.width || !this.names) return;
    const n = this.names.length;
    const left = 30 + 6.2 * Math.max(...this.names.map((name) => short(name).length));
    const size = Math.max(6, Math.min(56, (this.width - left - 12) / n));
    const top = 8;
    const color = ramp(["--heat-0", "--heat-1"]);
    const height = top + size * n + 40;
    const svg = s("svg", { height, role: "img", "aria-label": this.label });
    const every = Math.max(1, Math.ceil(14 / size));
    this.names.forEach((name, i) => {
      const total = this.counts[i].reduce((a, b) => a + b, 0);
      if (i % every === 0) svg.append(s("text", { x: left - 6, y: top + (i + 0.5) * size + 4, "text-anchor": "end" }, short(name)));
      this.counts[i].forEach((count, j) => {
        const share = total ? count / total : 0;
        svg.append(s("rect", { class: "cell", x: left + j * size, y: top + i * size, width: size - 1, height: size - 1, fill: color(share), onpointerenter: (event) => this.say(event, i, j, share), onpointerleave: () => { this.tip.hidden = true; } }));
        if (size >= 26) svg.append(s("text", { class: share > 0.4 ? "on" : "label", x: left + (j + 0.5) * size, y: top + (i + 0.5) * size + 4, "text-anchor": "middle" }, number(count)));
      });
    });
    const fits = Math.max(1, Math.ceil((6.4 * Math.max(...this.names.map((name) => short(name).length))) / size));
    this.names.forEach((name, j) => { if (j % fits === 0) svg.append(s("text", { x: left + (j + 0.5) * size, y: top + n * size + 14, "text-anchor": "middle" }, short(name))); });
    svg.append(s("text", { class: "label", x: left + (n * size) / 2, y: height - 6, "text-anchor": "middle" }, "predicted"), s("text", { class: "label", transform: `translate(12 ${top + (n * size) / 2}) rotate(-90)`, "text-anchor": "middle" }, "actual"));
    put(this.place, svg);
  }

  say(event, i, j, share) {
    const box = this.root.getBoundingClientRect();
    put(this.tip, h("div", { class: "head" }, `actual ${this.names[i]}`), h("div", {}, `predicted ${this.names[j]}: ${number(this.counts[i][j])} (${number(share * 100, 3)} %)`));
    this.tip.hidden = false;
    placeTip(this.tip, event.clientX - box.left, event.clientY - box.top);
  }
}
