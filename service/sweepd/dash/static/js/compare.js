// Runs side by side: what differs, metrics against the first run, curves over each other.

import { fewColors } from "./color.js";
import { h, icon, pageData, put, stateBadge } from "./dom.js";
import { Focus, view } from "./focus.js";
import { fixed, keepTimes, lasting, number, setNow, value, when } from "./format.js";
import { live } from "./live.js";
import { getJson, Panels, panelTools, withKeys } from "./panels.js";

const data = pageData();
const focus = new Focus();
const colors = fewColors(data.runs.map((run) => run.id));
let showsAll = view.get("config") === "all";

const panels = new Panels(document.getElementById("panels"), {
  focus,
  load: async (keys, x) => {
    const found = await getJson(withKeys(data.address.curves, keys, { x }));
    if (!found) return null;
    return Object.fromEntries(keys.map((key) => [key, data.runs
      .filter((run) => found[run.id]?.[key])
      .map((run) => ({ ...found[run.id][key], id: run.id, label: run.title, color: colors.get(run.id), lo: undefined, hi: undefined }))]));
  },
  emptyText: "None of these runs has logged a number.",
});

/** Return a signed difference with its direction in words and colour. */
function delta(one) {
  if (!one) return null;
  const tone = { better: "good", worse: "bad" }[one.verdict] ?? "quiet";
  if (one.verdict === "same") return h("span", { class: "delta", data: { tone } }, "same");
  const sign = one.value > 0 ? "+" : "−";
  const percent = one.percent === null || Math.abs(one.percent) > 9999 ? "" : `, ${sign}${number(Math.abs(one.percent))} %`;
  return h("span", { class: "delta", data: { tone }, title: `${one.verdict}${percent}` }, `${sign}${number(Math.abs(one.value))}`, one.verdict === "unknown" ? "" : ` ${one.verdict}`);
}

const arrow = (direction) => (direction === 0 ? null : h("span", { class: "faint", title: direction > 0 ? "higher is better" : "lower is better" }, direction > 0 ? " ↑" : " ↓"));

function without(id) {
  const ids = data.runs.map((run) => run.id).filter((one) => one !== id);
  location.href = `${data.address.page}?runs=${ids.map(encodeURIComponent).join(",")}`;
}

function baseline(id) {
  const ids = [id, ...data.runs.map((run) => run.id).filter((one) => one !== id)];
  location.href = `${data.address.page}?runs=${ids.map(encodeURIComponent).join(",")}`;
}

function headCell(run, i) {
  return h("th", { scope: "col", class: "run-head" },
    h("div", { class: "run-name" }, h("i", { class: "dot", style: { background: colors.get(run.id) } }), h("a", { href: run.url, class: "strong" }, run.title)),
    h("div", { class: "chips" },
      i === 0 ? h("span", { class: "faint" }, "baseline") : h("button", { class: "btn small plain", type: "button", onclick: () => baseline(run.id) }, "Make baseline"),
      data.runs.length > 2 ? h("button", { class: "btn small plain", type: "button", "aria-label": `take ${run.title} out`, onclick: () => without(run.id) }, icon("x")) : null));
}

const group = (text, more = null) => h("tr", { class: "group" }, h("th", { scope: "colgroup", colspan: data.runs.length + 1 }, h("span", { class: "run-name" }, text, more)));

function configCell(row, i) {
  if (!row.has[i]) return h("td", { class: "faint" }, "not set");
  const isOther = row.differs && i > 0 && JSON.stringify(row.values[i]) !== JSON.stringify(row.values[0]);
  return h("td", { class: `clip${isOther ? " strong" : ""}`, title: value(row.values[i]) }, value(row.values[i]));
}

function draw(fresh) {
  Object.assign(data, fresh, { address: data.address });
  const differing = data.config.filter((row) => row.differs);
  const shown = showsAll ? data.config : differing;
  const same = data.config.length - differing.length;
  const fact = (name, show) => h("tr", {}, h("td", { class: "pin dim" }, name), data.runs.map((run) => h("td", {}, show(run))));
  put(document.getElementById("table"), h("table", { class: "table compare", style: { "--runs": String(data.runs.length) } },
    h("thead", {}, h("tr", {}, h("th", { class: "pin" }), data.runs.map(headCell))),
    h("tbody", {},
      fact("State", (run) => stateBadge(run.state)),
      fact("Duration", (run) => lasting(run.started, run.ended)),
      fact("Made", (run) => when(run.created)),
      new Set(data.runs.map((run) => run.host)).size > 1 ? fact("Host", (run) => run.host ?? "–") : null,
      group("Metrics"),
      data.metrics.map((row) => h("tr", { data: { metric: row.note ? "objective" : row.key } },
        h("td", { class: "pin" }, h("span", { class: row.key === data.metric ? "strong" : null }, row.note ? `${row.key} (${row.note})` : row.key), arrow(row.direction)),
        row.values.map((one, i) => h("td", {}, h("span", { class: row.best === i ? "strong" : null }, fixed(one)), row.best === i ? h("span", { class: "faint" }, " best") : null, delta(row.deltas[i]))))),
      data.metrics.length === 0 ? h("tr", {}, h("td", { class: "dim", colspan: data.runs.length + 1 }, "No run has logged a number yet.")) : null,
      group("Configuration", same ? h("button", { class: "btn small plain", type: "button", id: "config-all", onclick: () => { showsAll = !showsAll; view.set("config", showsAll ? "all" : null); draw({}); } }, showsAll ? "Show differences only" : `Show ${same} that ${same === 1 ? "is" : "are"} the same`) : null),
      shown.map((row) => h("tr", { data: { config: row.key } }, h("td", { class: "pin" }, row.key), row.values.map((_, i) => configCell(row, i)))),
      shown.length === 0 ? h("tr", {}, h("td", { class: "dim", colspan: data.runs.length + 1 }, "The configurations are the same.")) : null)));
  panels.keys(data.keys);
}

setNow(data.now);
panelTools(panels);
draw(data);
keepTimes();
live({ feed: data.address.feed, data: data.address.data, stamp: data.stamp, onData: draw });
