// A wall of line charts, one per logged key, in sections by the part of the key before "/".
// A panel fetches its curves when it comes into sight; all charts share the crosshair.

import { h, put } from "./dom.js";
import { number } from "./format.js";
import { Group, LineChart } from "./linechart.js";
import { choose, toggle, watchFilter } from "./shared.js";

const BATCH = 40;  // keys of one request

const FEW = 12;  // panels that stand together; more are put into sections

/** Return keys by section, `[[name, keys]]`: "train/loss" -> "train", "loss" -> `title`. */
export function sectionsOf(keys, title, few = FEW) {
  if (keys.length <= few) return keys.length ? [[title, keys]] : [];
  const sections = new Map();
  for (const key of keys) {
    const name = key.indexOf("/") > 0 ? key.slice(0, key.indexOf("/")) : title;
    if (!sections.has(name)) sections.set(name, []);
    sections.get(name).push(key);
  }
  return [...sections];
}

/**
 * The wall. `load(keys, x)` resolves to `{key: [{id, label, color, x, y, lo?, hi?}]}`.
 * `xOf(key)` names the logged key that a chart is drawn over, where it is not the step.
 */
export class Panels {
  constructor(root, { load, focus = null, xOf = () => null, title = "Charts", few = FEW, titleOf = (key) => key, emptyText }) {
    Object.assign(this, { root, load, focus, xOf, title, few, titleOf, emptyText });
    this.group = new Group();
    this.panels = new Map();
    this.x = "_step";
    this.look = { smoothing: 0, isLog: false };
    this.needle = "";
    this.wanted = new Set();
    this.seer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const panel = this.panels.get(entry.target.dataset.key);
        if (!panel) continue;
        panel.isSeen = entry.isIntersecting;
        if (panel.isSeen && panel.isStale) this.want(panel);
      }
    }, { rootMargin: "240px" });
  }

  /** Show these keys; panels that stay are kept. */
  keys(keys) {
    const text = JSON.stringify(keys);
    if (text === this.keysText) { this.refresh(); return; }
    this.keysText = text;
    const sections = sectionsOf(keys, this.title, this.few);
    for (const key of [...this.panels.keys()]) if (!keys.includes(key)) this.panels.delete(key);
    put(this.root,
      keys.length === 0 ? h("div", { class: "card empty" }, h("h3", {}, "Nothing logged yet"), h("p", {}, this.emptyText)) : null,
      sections.map(([name, some]) => [
        h("div", { class: "section", data: { section: name } }, h("h2", {}, name), h("span", { class: "faint num" }, some.length)),
        h("div", { class: "panels", data: { section: name } }, some.map((key) => this.panel(key).card)),
      ]));
    this.refresh();
    this.filter(this.needle);
  }

  panel(key) {
    if (this.panels.has(key)) return this.panels.get(key);
    const now = h("span", { class: "now" });
    const place = h("div");
    const card = h("section", { class: "card panel", data: { key }, "aria-label": key },
      h("header", {}, h("h2", { title: key }, this.titleOf(key)), now), place);
    const chart = new LineChart(place, { group: this.group, focus: this.focus, label: key });
    const panel = { key, card, chart, now, isStale: true, isSeen: false };
    this.panels.set(key, panel);
    this.seer.observe(card);
    return panel;
  }

  want(panel) {
    this.wanted.add(panel);
    this.timer ??= setTimeout(() => { this.timer = null; this.fetch(); }, 20);
  }

  /** Fetch again what is in sight, and the rest once it comes into sight. */
  refresh() {
    for (const panel of this.panels.values()) {
      panel.isStale = true;
      if (panel.isSeen) this.want(panel);
    }
  }

  async fetch() {
    const byX = new Map();
    for (const panel of this.wanted) {
      const x = this.x === "_step" ? this.xOf(panel.key) ?? "_step" : this.x;
      if (!byX.has(x)) byX.set(x, []);
      byX.get(x).push(panel);
      panel.isStale = false;
    }
    this.wanted.clear();
    for (const [x, panels] of byX) {
      for (let i = 0; i < panels.length; i += BATCH) {
        const some = panels.slice(i, i + BATCH);
        const found = await this.load(some.map((panel) => panel.key), x);
        if (found === null) { this.later(some); continue; }
        for (const panel of some) this.fill(panel, found[panel.key] ?? [], x);
      }
    }
  }

  /** Try panels again in a while: the server was busy or gone. */
  later(panels) {
    for (const panel of panels) panel.isStale = true;
    setTimeout(() => { for (const panel of panels) if (panel.isSeen && panel.isStale) this.want(panel); }, 3000);
  }

  fill(panel, series, x) {
    const isTime = x === "_runtime";
    const finite = series.filter((one) => one.x.length);
    panel.chart.set({ series: finite, xKind: isTime ? "time" : "step", ...this.look });
    const bad = series.reduce((n, one) => n + (one.n_bad ?? 0), 0);
    put(panel.now,
      bad ? h("span", { title: `${bad} values were NaN or infinite` }, `${bad} NaN  `) : null,
      finite.length === 1 ? number(finite[0].y[finite[0].y.length - 1]) : null);
  }

  restyle(look) {
    Object.assign(this.look, look);
    for (const panel of this.panels.values()) panel.chart.set(this.look);
  }

  filter(needle) {
    this.needle = needle.trim().toLowerCase();
    for (const panel of this.panels.values()) panel.card.hidden = !panel.key.toLowerCase().includes(this.needle);
    for (const grid of this.root.querySelectorAll(".panels")) {
      const isEmpty = [...grid.children].every((card) => card.hidden);
      grid.hidden = isEmpty;
      grid.previousElementSibling.hidden = isEmpty;
    }
  }
}

/** Connect the bar over the panels: filter, x axis, smoothing, log scale. */
export function panelTools(panels) {
  watchFilter(document.getElementById("panel-filter"), (text) => panels.filter(text));
  choose(document.getElementById("x-axis"), "x", (x) => { panels.x = x; for (const p of panels.panels.values()) p.chart.zoom = null; panels.refresh(); });
  const slider = document.getElementById("smoothing");
  slider.addEventListener("input", () => {
    document.getElementById("smoothing-value").textContent = slider.value;
    panels.restyle({ smoothing: Number(slider.value) });
  });
  toggle(document.getElementById("log"), (isLog) => panels.restyle({ isLog }));
}

/** Fetch JSON of our own; null when the server is gone. */
export async function getJson(address) {
  try {
    const answer = await fetch(address, { credentials: "same-origin" });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Return an address with `key` parameters. */
export function withKeys(address, keys, more = {}) {
  const params = new URLSearchParams();
  for (const key of keys) params.append("key", key);
  for (const [name, value] of Object.entries(more)) params.set(name, value);
  return `${address}${address.includes("?") ? "&" : "?"}${params}`;
}
