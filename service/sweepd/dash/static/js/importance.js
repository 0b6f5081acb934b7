// Which parameters matter for a metric: shares and trends, each with its interval.

import { h, put, s } from "./dom.js";
import { number, value } from "./format.js";
import { getJson } from "./panels.js";
import { choose } from "./shared.js";

const REST_MS = 10_000;  // between two computations for a page that follows a sweep
const WIDTH = 220;
const HEIGHT = 16;

/** The panel. It fetches when it is in sight, and again when more runs have ended. */
export class Importance {
  constructor({ card, place, note, select, goals, address, chosen, onChoice }) {
    Object.assign(this, { card, place, note, select, goals, address, chosen, goal: null, own: null, isStale: true, isSeen: false, last: 0 });
    select.addEventListener("change", () => {
      this.chosen = select.value === this.own ? null : select.value;
      this.goal = null;
      onChoice(this.chosen);
      this.fetch();
    });
    choose(goals, "goal", (goal) => { this.goal = goal; this.fetch(); });
    new IntersectionObserver(([entry]) => { this.isSeen = entry.isIntersecting; this.look(); }, { rootMargin: "240px" }).observe(card);
  }

  set({ metric, stamp }) {
    this.own = metric;
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    this.isStale = true;
    this.look();
  }

  look() {
    if (!this.isSeen || !this.isStale || this.timer) return;
    this.timer = setTimeout(() => { this.timer = null; if (this.isSeen && this.isStale) this.fetch(); }, Math.max(0, this.last + REST_MS - Date.now()));
  }

  async fetch() {
    this.isStale = false;
    const params = new URLSearchParams();
    if (this.chosen) params.set("metric", this.chosen);
    if (this.goal) params.set("goal", this.goal);
    const asked = String(params);
    this.asked = asked;
    if (!this.place.hasChildNodes()) put(this.place, h("div", { class: "empty" }, h("p", {}, "Computing…")));
    const found = await getJson(`${this.address}${asked ? `?${asked}` : ""}`);
    this.last = Date.now();
    if (this.asked !== asked) return;
    if (found === null) { this.isStale = true; this.look(); return; }
    if (found.is_computing) { this.fetch(); return; }  // the server answers late, not at once
    this.draw(found);
  }

  draw(found) {
    const metrics = found.metrics.includes(found.metric) || !found.metric ? found.metrics : [found.metric, ...found.metrics];
    put(this.select, metrics.map((name) => h("option", { value: name, selected: name === found.metric }, name)));
    this.select.hidden = metrics.length < 2;
    this.goals.hidden = !found.metric || found.has_goal;
    for (const button of this.goals.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.goal === found.goal));
    const better = found.goal === "maximize" ? "higher" : "lower";
    this.note.textContent = found.metric ? `for ${found.metric}, ${better} is better; ${found.n} finished ${found.n === 1 ? "run" : "runs"}` : "";
    if (found.n < found.n_needed) {
      put(this.place, h("div", { class: "empty" }, h("h3", {}, found.metric ? `Needs ${found.n_needed} finished runs` : "No metric is named"), h("p", {}, found.metric ? `With ${found.n} so far, any order of the parameters would be chance.` : "Choose one that the runs logged.")));
      return;
    }
    const order = (a, b) => (b.share ?? 0) - (a.share ?? 0) || Math.abs(b.trend ?? 0) - Math.abs(a.trend ?? 0);
    const rows = [...found.parameters].sort(order);
    const hasShares = rows.some((one) => one.share !== null);
    const heads = ["Parameter", ...(hasShares ? ["Importance"] : []), "Trend", "What it says", "Runs"];
    put(this.place,
      found.note ? h("p", { class: "banner", data: { tone: "quiet" } }, h("span", {}, found.note)) : null,
      h("div", { class: "scroll flush" }, h("table", { class: "table importance" },
        h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col", title: HINTS[text] ?? null, class: text === "Runs" ? "right" : null }, text)))),
        h("tbody", {}, rows.map((one) => h("tr", { data: { parameter: one.name } },
          h("td", { class: "mono strong" }, one.name),
          hasShares ? h("td", {}, shareBar(one)) : null,
          h("td", {}, trendBar(one)),
          h("td", { class: "wrap" }, words(one, found)),
          h("td", { class: "right" }, one.n)))))));
  }
}

const HINTS = {
  Importance: "share in what sets the best runs apart from all (PED-ANOVA); the line holds nine of ten resamples of the runs",
  Trend: "Spearman's rank correlation with the metric, -1 to 1; the line holds nine of ten resamples of the runs",
};

const percent = (share) => `${Math.round(100 * share)} %`;

/** A bar from the left, and the line of its interval. */
function shareBar({ share, share_low: low, share_high: high }) {
  if (share === null) return h("span", { class: "faint" }, "–");
  const x = (part) => 1 + part * (WIDTH - 2);
  return bar(`${percent(share)}, between ${percent(low)} and ${percent(high)}`, percent(share),
    s("rect", { class: "share", x: x(0), y: 3, width: Math.max(1, x(share) - x(0)), height: HEIGHT - 6, rx: 2 }), whisker(x(low), x(high)));
}

/** A bar from the middle: to the right where more of the parameter means more of the metric. */
function trendBar({ trend, trend_low: low, trend_high: high }) {
  if (trend === null) return h("span", { class: "faint" }, "–");
  const x = (part) => WIDTH / 2 + part * (WIDTH / 2 - 2);
  const text = `${trend > 0 ? "+" : trend < 0 ? "−" : ""}${Math.abs(trend).toFixed(2)}`;
  return bar(`${text}, between ${number(low, 2)} and ${number(high, 2)}`, text,
    s("line", { class: "middle", x1: x(0), x2: x(0), y1: 0, y2: HEIGHT }),
    s("rect", { class: "trend", x: Math.min(x(0), x(trend)), y: 3, width: Math.max(1, Math.abs(x(trend) - x(0))), height: HEIGHT - 6, rx: 2 }), whisker(x(low), x(high)));
}

const whisker = (low, high) => s("path", { class: "whisker", d: `M${low} ${HEIGHT / 2}H${high}M${low} 4V${HEIGHT - 4}M${high} 4V${HEIGHT - 4}` });

const bar = (label, text, ...shapes) => h("span", { class: "measure", title: label },
  s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, shapes), h("span", { class: "num" }, text));

/** Say what a parameter's row means; nothing more than its interval allows. */
function words(one, { goal, n_needed: needed }) {
  if (one.n < needed) return h("span", { class: "faint" }, `only ${one.n} runs have it`);
  if (one.trend === null) return one.best === null ? "" : `${value(JSON.parse(one.best))} has the best median`;
  if (one.trend_low <= 0 && one.trend_high >= 0) return h("span", { class: "faint" }, "no clear trend");
  const isBetter = (one.trend > 0) === (goal === "maximize");
  return `more is ${isBetter ? "better" : "worse"}`;
}
