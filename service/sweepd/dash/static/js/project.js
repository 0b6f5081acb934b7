// A project: its sweeps with their progress, and its runs.

import { runColor } from "./color.js";
import { h, icon, pageData, put, s, stateBadge } from "./dom.js";
import { Focus, view } from "./focus.js";
import { fixed, keepTimes, lasting, number, setNow, when } from "./format.js";
import { live } from "./live.js";
import { linear } from "./scale.js";
import { nameCell, RunsTable, stateCell } from "./table.js";
import { progressBar, watchFilter, watchPicks } from "./shared.js";

const data = pageData();
const focus = new Focus();

function sparkline(values) {
  if (values.length < 2) return h("span", { class: "faint" }, "–");
  const y = linear(Math.min(...values), Math.max(...values), 21, 3);
  const x = linear(0, values.length - 1, 2, 118);
  let d = `M2 ${y(values[0]).toFixed(1)}`;
  values.slice(1).forEach((v, i) => { d += `H${x(i + 1).toFixed(1)}V${y(v).toFixed(1)}`; });
  return s("svg", { class: "spark", viewBox: "0 0 120 24", role: "img", "aria-label": `best so far, ${number(values[0])} to ${number(values[values.length - 1])}` }, s("path", { d }));
}

function sweeps(shown) {
  const root = document.getElementById("sweeps");
  document.getElementById("sweeps-note").textContent = shown.sweeps.length < shown.n_sweeps ? `showing ${shown.sweeps.length} of ${shown.n_sweeps}, newest first` : "";
  if (shown.sweeps.length === 0) {
    put(root, h("div", { class: "empty" }, icon("chart"), h("h3", {}, "No sweeps yet"), h("p", {}, "Register a definition: ", h("code", {}, "sweep create DEFINITION"))));
    return;
  }
  if (root.matches(":hover") && root.querySelector("table")) { sweeps.late = shown; return; }
  const heads = [["Sweep"], ["State"], ["Method"], ["Metric"], ["Best", "right"], ["Best so far"], ["Progress"], ["Agents", "right"], ["Made"]];
  put(root, h("div", { class: "scroll flush" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, heads.map(([text, cls]) => h("th", { scope: "col", class: cls }, text)))),
    h("tbody", {}, shown.sweeps.map((one) => h("tr", {},
      h("td", { class: "clip" }, h("a", { class: "strong", href: one.url }, one.title), one.title === one.id ? null : h("span", { class: "faint" }, `  ${one.id}`)),
      h("td", { title: one.sentence }, stateBadge(one.state)),
      h("td", {}, one.method),
      h("td", { class: "clip" }, one.metric ? [one.metric, h("span", { class: "faint", title: one.goal }, one.goal === "maximize" ? " ↑" : " ↓")] : h("span", { class: "faint" }, "–")),
      h("td", { class: "right" }, one.best_url ? h("a", { href: one.best_url }, fixed(one.value)) : "–"),
      h("td", {}, sparkline(one.spark)),
      h("td", {}, progressBar(one.progress), h("span", { class: "dim" }, one.expected ? `${one.n_done} of ${one.expected}` : `${one.n_done} done`)),
      h("td", { class: "right" }, one.n_agents),
      h("td", {}, when(one.created)),
    ))))));
}

document.getElementById("sweeps").addEventListener("pointerleave", () => {
  if (sweeps.late) { const late = sweeps.late; sweeps.late = null; sweeps(late); }
});

const columns = (metrics) => [
  { key: "title", label: "Name", cls: "clip pin", get: (run) => run.title, show: nameCell },
  { key: "state", label: "State", get: (run) => run.state.word, show: stateCell },
  { key: "sweep", label: "Sweep", get: (run) => run.sweep, show: (run) => (run.sweep ? h("a", { href: run.sweep_url }, run.sweep) : h("span", { class: "faint" }, "–")) },
  ...metrics.map((key) => ({ key: `m:${key}`, label: key, right: true, downFirst: true, get: (run) => run.summary[key], show: (run) => fixed(run.summary[key]) })),
  { key: "created", label: "Made", downFirst: true, get: (run) => run.created, show: (run) => when(run.created) },
  { key: "time", label: "Duration", right: true, get: (run) => (run.started ? (run.ended ?? 1e12) - run.started : null), show: (run) => lasting(run.started, run.ended) },
  { key: "user", label: "User", get: (run) => run.user, show: (run) => run.user ?? "–" },
];

const table = new RunsTable(document.getElementById("runs"), { focus, columns: columns(data.metrics), sort: sortFromAddress(), onSort: (sort) => view.set("sort", `${sort.isDown ? "-" : ""}${sort.key}`) });

function sortFromAddress() {
  const text = view.get("sort") ?? "-created";
  return { key: text.replace(/^-/, ""), isDown: text.startsWith("-") };
}

function draw(shown) {
  sweeps(shown);
  const note = document.getElementById("runs-note");
  note.textContent = shown.runs.length < shown.n_runs ? `the newest ${shown.runs.length} of ${shown.n_runs}` : "";
  const runs = shown.runs.map((run) => ({ ...run, color: runColor(run.id) }));
  table.set({ runs, columns: columns(shown.metrics) });
  if (runs.length === 0 && !document.querySelector("#runs .empty")) {
    put(document.getElementById("runs"), h("div", { class: "empty" }, icon("chart"), h("h3", {}, "No runs yet"), h("p", {}, "Every script that calls ", h("code", {}, "wandb.init"), " against this service appears here.")));
  }
}

setNow(data.now);
draw(data);
keepTimes();
watchFilter(document.getElementById("filter"), (text) => table.filter(text));
watchPicks(document.getElementById("compare"), focus, data.address.compare);
live({ feed: data.address.feed, data: data.address.data, stamp: data.stamp, onData: (fresh) => (data.runs.length === 0 && fresh.runs.length ? location.reload() : draw(fresh)) });
