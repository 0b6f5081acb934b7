// A sweep's page.

import { BestSoFar } from "./bestsofar.js";
import { Definition } from "./definition.js";
import { enqueueForm } from "./enqueue.js";
import { runColor } from "./color.js";
import { copyText, h, icon, pageData, put, s, stateBadge, tabs } from "./dom.js";
import { Focus, view } from "./focus.js";
import { FrontChart } from "./front.js";
import { duration, fixed, keepTimes, lasting, number, setNow, value, when } from "./format.js";
import { Importance } from "./importance.js";
import { LineChart } from "./linechart.js";
import { live } from "./live.js";
import { Parallel } from "./parallel.js";
import { act, banners, choose, progressBar, toggle, watchFilter, watchPicks } from "./shared.js";
import { nameCell, RunsTable, stateCell } from "./table.js";

const $ = (id) => document.getElementById(id);
const data = pageData();
const focus = new Focus();
const byId = new Map();
const goTo = (run) => { location.href = byId.get(typeof run === "string" ? run : run.id).url; };
const metricKey = (name = data.sweep.metric) => `metric:${name}`;
const isSeveral = () => data.sweep.metrics.length > 0;

// --- the head

const CONTROLS = {
  pause: { label: "Pause", icon: "pause", hint: "hand out nothing new; running trials go on" },
  resume: { label: "Resume", icon: "play", hint: "hand out trials again", cls: "main" },
  stop: { label: "Stop", icon: "stop", hint: "finish: running trials end by themselves, nothing new starts" },
  cancel: { label: "Cancel", icon: "x", hint: "kill running trials and end the sweep", cls: "risky" },
};

async function control(name, button) {
  if (name === "cancel") {
    const ask = $("ask");
    ask.showModal();
    await new Promise((done) => { ask.addEventListener("close", done, { once: true }); });
    if (ask.returnValue !== "yes") return;
  }
  button.disabled = true;
  if (await act(`${data.address.control}/${name}`)) await refresh();
  button.disabled = false;
}

const enqueue = enqueueForm(`${data.address.control}/enqueue`);

/** Open the form with a run's values: those of the one that is named, else of the best. */
function tryOne(id) {
  const run = byId.get(id ?? data.sweep.best?.run);
  enqueue(data.fields, run);
}

async function release(id, button) {
  button.disabled = true;
  if (await act(`${data.address.control}/release/${encodeURIComponent(id)}`)) await refresh();
  button.disabled = false;
}

function head({ sweep }) {
  const state = JSON.stringify([sweep.state, sweep.controls, sweep.takes_more, sweep.n_retried]);
  if (head.state !== state) {
    head.state = state;
    put($("state"), stateBadge(sweep.state, { pill: true }));
    put($("controls"), sweep.takes_more && data.fields.length ? h("button", { class: "btn", type: "button", id: "try", title: "run a configuration of your own next", onclick: () => tryOne(null) }, "Try a configuration") : null,
      sweep.n_retried ? h("button", { class: "btn", type: "button", data: { control: "retry" }, title: "hand failed trials out again under their run ids; those that a person killed stay", onclick: (event) => control("retry", event.currentTarget) }, icon("play"), `Retry ${sweep.n_retried} failed`) : null,
      sweep.controls.map((name) => {
      const { label, icon: sign, hint, cls } = CONTROLS[name];
      return h("button", { class: `btn ${cls ?? ""}`, type: "button", title: hint, data: { control: name }, onclick: (event) => control(name, event.currentTarget) }, icon(sign), label);
    }));
  }
  const ends = sweep.ends ? ` Ends about ${clock(sweep.ends, data.now)}.` : "";
  const sentence = sweep.sentence + ends;
  if ($("sentence").textContent !== sentence) $("sentence").textContent = sentence;
  document.title = `${sweep.expected ? `${sweep.n_done}/${sweep.expected} ` : ""}${sweep.title} · sweepd`;
  put($("facts"),
    h("span", {}, sweep.method, sweep.stopping ? ` with ${sweep.stopping}` : ""),
    goals(sweep),
    h("span", {}, "made ", when(sweep.created), sweep.user ? ` by ${sweep.user}` : ""),
    sweep.description ? h("span", {}, sweep.description) : null);
  const items = [];
  if (sweep.stop_reason) items.push({ tone: sweep.state.tone === "bad" ? "bad" : sweep.state.tone === "good" ? "good" : "quiet", icon: sweep.state.tone === "bad" ? "failed" : "info", text: sweep.stop_reason });
  for (const { tone, text } of data.notices) items.push({ tone, icon: tone === "warn" ? "crashed" : "info", text });
  const key = JSON.stringify(items);
  if (head.items !== key) { head.items = key; banners($("banners"), items, icon); }
}

/** Return in words what is optimised. */
function goals(sweep) {
  const all = sweep.metric ? [{ name: sweep.metric, goal: sweep.goal }] : sweep.metrics;
  if (!all.length) return h("span", {}, "no metric");
  return h("span", {}, all.map(({ name, goal }, i) => [i ? ", " : "", `${goal} `, h("b", { class: "strong" }, name)]));
}

function clock(at, now) {
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return at - now < 12 * 3600 ? time : `${date.toLocaleDateString([], { month: "short", day: "numeric" })}, ${time}`;
}

function figures({ sweep, runs }) {
  const best = sweep.best;
  const gain = best?.gain ? `${best.gain > 0 ? "+" : "−"}${Number(Math.abs(best.gain).toPrecision(2))} on the one before` : "";
  put($("figures"),
    isSeveral() ? h("div", {}, h("dt", {}, "Front"),
      h("dd", {}, String(sweep.n_front)),
      h("dd", { class: "sub" }, sweep.n_front === 1 ? "trial that no other beats" : "trials that no other beats")) : h("div", {}, h("dt", {}, sweep.metric ? `Best ${sweep.metric}` : "Best"),
      h("dd", {}, best ? number(best.value) : "–"),
      h("dd", { class: "sub" }, best ? [h("a", { href: best.url }, best.title), gain ? ` · ${gain}` : ""] : sweep.metric ? "no trial has a value yet" : "the definition names no metric")),
    h("div", { class: "wide" }, h("dt", {}, "Progress"),
      progressBar(sweep.progress),
      h("dd", { class: "sub" }, sweep.progress.map((part) => `${part.count} ${part.word}`).join(" · ") || "nothing handed out yet")),
    budgetFigure(sweep.budget),
    h("div", {}, h("dt", {}, "Compute time"), h("dd", {}, duration(sweep.compute_s)), h("dd", { class: "sub" }, "over all trials")),
    h("div", {}, h("dt", {}, sweep.ended ? "Took" : "Running for"), h("dd", {}, lasting(runs[0]?.created ?? null, sweep.ended)), h("dd", { class: "sub" }, sweep.ended ? ["ended ", when(sweep.ended)] : "since the first trial")),
    h("div", {}, h("dt", {}, "Agents"), h("dd", {}, String(sweep.n_agents)), h("dd", { class: "sub" }, sweep.n_running ? `${sweep.n_running} ${sweep.n_running === 1 ? "trial" : "trials"} at work` : "none at work")));
}

const BUDGETS = {
  runs: (used, limit) => `${used} of ${limit} runs`,
  hours: (used, limit) => `${duration(used * 3600)} of ${duration(limit * 3600)}`,
  gpu_hours: (used, limit) => `${number(used, 3)} of ${number(limit)} GPU hours`,
  plateau: (used, limit) => `${used} of ${limit} finished trials without a better one`,
};

/** How much is used up of the budget that is nearest to its end, and each of them in words. */
function budgetFigure(budget) {
  if (budget.length === 0) return null;
  const most = Math.max(...budget.map(({ used, limit }) => used / limit));
  return h("div", { id: "budget" }, h("dt", {}, "Budget"), h("dd", {}, `${Math.floor(100 * most)} %`),
    h("dd", { class: "sub" }, budget.map(({ name, used, limit }) => BUDGETS[name](used, limit)).join(" · ")));
}

// --- the panels

const bestChart = new BestSoFar($("best"), { focus, open: goTo });
choose($("best-axis"), "axis", (axis) => { bestChart.axis = axis; bestChart.draw(); });
const legend = (name, word, color) => h("span", {}, s("svg", { viewBox: "-8 -8 16 16" }, s("path", { d: name, style: color })), word);
put($("best-legend"),
  legend("M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0Z", "finished", { fill: "var(--text-3)" }),
  legend("M4.5 0A4.5 4.5 0 1 1 -4.5 0A4.5 4.5 0 1 1 4.5 0Z", "running", { fill: "none", stroke: "var(--text-3)", "stroke-width": "2" }),
  legend("M-4 -4.5L5 0L-4 4.5Z", "stopped early", { fill: "var(--text-3)" }),
  legend("M-4 -4L4 4M4 -4L-4 4", "failed", { stroke: "var(--bad)", "stroke-width": "2" }),
  legend("M-8 0H8", "best so far", { stroke: "var(--accent)", "stroke-width": "2" }));

const frontChart = new FrontChart($("front"), { axes: $("front-axes"), focus, open: goTo });
const curves = new LineChart($("curves"), { height: 290, focus, open: goTo, label: "learning curves of the metric" });
toggle($("curves-log"), (isLog) => curves.set({ isLog }));

const parallel = new Parallel($("parallel"), {
  focus,
  open: goTo,
  onOrder: (names) => view.set("axes", names.map(encodeURIComponent).join(" ")),
  onBrush: (ids, chips, dumped) => {
    view.set("brush", dumped.map(([name, texts]) => [name, ...texts].map(encodeURIComponent).join("*")).join(" "));
    focus.brush(ids);
    put($("chips"),
      chips.length ? h("span", { class: "strong num", id: "brushed" }, `${ids.size} of ${data.runs.length} runs`) : null,
      chips.map((chip) => h("span", { class: "chip" }, chip.text, h("button", { type: "button", "aria-label": `clear ${chip.text}`, onclick: () => parallel.clear(chip.name, chip.index) }, "×"))),
      chips.length ? h("button", { class: "btn small plain", type: "button", id: "clear", onclick: () => parallel.clear() }, "Clear all") : null);
  },
});

function brushesOfAddress() {
  const items = (view.get("brush") ?? "").split(" ").filter(Boolean).map((one) => one.split("*").map(safeDecode));
  return new Map(items.map(([name, ...texts]) => [name, texts]));
}

function safeDecode(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** Return where a value stands between worst (0) and best (1), on the metric's axis. */
function rankOf(axes, goal) {
  if (isSeveral()) return (run) => (run.values ? (run.front ? 1 : 0.3) : null);
  const axis = axes.find((one) => one.role === "metric");
  return (run) => {
    if (!axis || typeof run.value !== "number") return null;
    const t = (run.value - axis.lo) / (axis.hi - axis.lo || 1);
    return Math.min(1, Math.max(0, goal === "maximize" ? t : 1 - t));
  };
}

const importance = new Importance({
  card: $("importance-card"), place: $("importance"), note: $("importance-note"), select: $("importance-metric"), goals: $("importance-goal"),
  address: `${data.address.data}/importance`,
  chosen: view.get("importance"),
  onChoice: (metric) => view.set("importance", metric),
});

// --- the table

function columns({ sweep, axes }) {
  const rule = sweep.rule === "best" ? "best" : sweep.rule;
  const parameters = axes.filter((axis) => axis.role === "parameter");
  return [
    { key: "title", label: "Name", cls: "clip pin", get: (run) => run.title, show: nameCell },
    { key: "state", label: "State", get: (run) => run.state.word, show: stateCell },
    ...(sweep.metric ? [
      { key: "value", label: `${sweep.metric} (${rule})`, title: "what the search goes by", right: true, cls: "metric", downFirst: sweep.goal === "maximize", get: (run) => run.value, show: (run) => fixed(run.value) },
      ...(sweep.rule === "last" ? [] : [{ key: "last", label: "last", right: true, downFirst: sweep.goal === "maximize", get: (run) => run.last, show: (run) => fixed(run.last) }]),
    ] : []),
    ...(isSeveral() ? [{ key: "front", label: "Front", title: "no other trial beats it", downFirst: true, get: (run) => Number(run.front ?? 0), show: (run) => (run.front ? h("b", { class: "strong" }, "front") : "") }] : []),
    ...sweep.metrics.map(({ name, goal }) => ({ key: `m:${name}`, label: `${name} (${rule})`, title: goal === "maximize" ? "higher is better" : "lower is better", right: true, cls: "metric", downFirst: goal === "maximize", get: (run) => run.values?.[name], show: (run) => fixed(run.values?.[name]) })),
    ...parameters.map((axis) => ({ key: `p:${axis.name}`, label: axis.name, right: axis.kind !== "band" || typeof axis.values[0] === "number", get: (run) => sortable(run.config[axis.name]), show: (run) => h("span", { title: value(run.config[axis.name]) }, value(run.config[axis.name])) })),
    { key: "number", label: "Trial", right: true, get: (run) => run.number, show: (run) => run.number },
    { key: "time", label: "Duration", right: true, get: (run) => (run.started ? (run.ended ?? data.now) - run.started : null), show: (run) => lasting(run.started, run.ended) },
    ...(sweep.version > 1 ? [{ key: "version", label: "Version", title: "of the definition that it came from", right: true, get: (run) => run.version, show: (run) => run.version }] : []),
    { key: "created", label: "Made", downFirst: true, get: (run) => run.created, show: (run) => when(run.created) },
    { key: "why", label: "Note", cls: "clip", get: (run) => run.state.why, show: (run) => h("span", { class: "dim", title: run.state.why }, run.state.why ?? "") },
  ];
}

const sortable = (item) => (item !== null && typeof item === "object" ? JSON.stringify(item) : item);

function firstSort() {
  const text = view.get("sort");
  if (text) return { key: text.replace(/^-/, ""), isDown: text.startsWith("-") };
  if (isSeveral()) return { key: "front", isDown: true };
  return data.sweep.metric ? { key: "value", isDown: data.sweep.goal === "maximize" } : { key: "number", isDown: true };
}

const isBestFirst = (sort) => !isSeveral() && sort.key === "value" && sort.isDown === (data.sweep.goal === "maximize");
const table = new RunsTable($("runs"), {
  focus,
  columns: columns(data),
  sort: firstSort(),
  orderWords: (sort) => (isBestFirst(sort) ? ", best first" : ""),
  onSort: (sort) => view.set("sort", isBestFirst(sort) ? null : `${sort.isDown ? "-" : ""}${sort.key}`),
});
watchFilter($("filter"), (text) => table.filter(text));
watchPicks($("compare"), focus, data.address.compare);
$("best-pick").addEventListener("click", () => focus.pickOnly(isSeveral() ? data.runs.filter((run) => run.front).map((run) => run.id) : bestFirst().slice(0, 3).map((run) => run.id)));

function bestFirst() {
  const sign = data.sweep.goal === "maximize" ? -1 : 1;
  return [...byId.values()].filter((run) => typeof run.value === "number" && !run.is_out && focus.passes(run.id)).sort((a, b) => sign * (a.value - b.value));
}

// --- agents and definition

/** Say below an agent's row why its place gets no trials, with a button that ends this. */
function quarantineRow({ id, quarantine, quarantined }, n) {
  if (!quarantine) return null;
  return h("tr", { class: "quarantine" }, h("td", { class: "wrap", colspan: n }, h("div", {},
    stateBadge({ word: "In quarantine", icon: "crashed", tone: "warn", why: null }), h("span", { class: "grow" }, quarantine, ", since ", when(quarantined)),
    h("button", { class: "btn small", type: "button", title: "hand out trials there again, as if nothing had failed", onclick: (event) => release(id, event.currentTarget) }, "Release"))));
}

function agents({ agents: list }) {
  $("n-agents").textContent = String(list.length);
  if (list.length === 0) {
    put($("agents"), h("div", { class: "empty" }, h("h3", {}, "No agent has connected yet"), h("p", {}, "Run the command above on any machine that reaches this service.")));
    return;
  }
  const heads = ["Agent", "State", "Host", "Current run", "Runs", "Last heartbeat", "Connected"];
  put($("agents"), h("div", { class: "scroll flush" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, list.map((one) => [h("tr", {},
      h("td", {}, one.name), h("td", {}, stateBadge(one.state)), h("td", { class: "clip", title: one.host }, [one.host, one.device].filter(Boolean).join(" · ")),
      h("td", { class: "clip" }, one.run ? h("a", { href: one.run_url }, byId.get(one.run)?.title ?? one.run) : h("span", { class: "faint" }, "–")),
      h("td", {}, one.n_runs), h("td", {}, when(one.seen)), h("td", {}, when(one.created))), quarantineRow(one, heads.length)])))));
}

/** List what was given away in advance, to machines that are cut off; nothing without any. */
function bundles({ bundles: list }) {
  $("bundles-card").hidden = list.length === 0;
  put($("bundles"), h("div", { class: "scroll flush" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, ["Bundle", "State", "Made by", "Trials", "Still out", "Until", "Made"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, list.map((one) => h("tr", {},
      h("td", {}, one.name), h("td", {}, stateBadge(one.state)), h("td", {}, one.user ?? h("span", { class: "faint" }, "–")),
      h("td", {}, one.n), h("td", {}, one.n_out), h("td", {}, when(one.until)), h("td", {}, when(one.created))))))));
}

put($("agent-kind"), data.commands.map((one, i) => h("button", { type: "button", data: { name: one.name }, "aria-pressed": String(i === 0) }, `${one.name} agent`)));
const showCommand = (name) => { $("command").textContent = data.commands.find((one) => one.name === name).text; };
choose($("agent-kind"), "name", showCommand);
showCommand(data.commands[0].name);
$("copy").addEventListener("click", (event) => copyText(event.currentTarget, $("command").textContent));
const definition = new Definition({ address: data.address, onSaved: () => refresh() });

// --- everything

function draw(fresh, first = null) {
  Object.assign(data, fresh, { address: data.address });
  const rank = rankOf(data.axes, data.sweep.goal);
  byId.clear();
  for (const run of data.runs) byId.set(run.id, Object.assign(run, { color: runColor(run.id), rank: rank(run) }));
  head(data);
  figures(data);
  bestChart.set({ runs: data.runs, goal: data.sweep.goal, metric: data.sweep.metric ?? "value", start: data.runs[0]?.created ?? data.sweep.created });
  $("best-note").textContent = data.sweep.metric ? `${data.sweep.metric}, ${data.sweep.goal === "maximize" ? "higher" : "lower"} is better` : "";
  $("front-card").hidden = !isSeveral();
  $("curves-of-one").hidden = isSeveral();
  if (isSeveral()) {
    $("front-note").textContent = "trials that no other beats in one metric without being worse in another";
    $("best-pick").textContent = "Pick the front";
    frontChart.set({ runs: data.runs, metrics: data.sweep.metrics });
  }
  const best = new Set(bestFirst().slice(0, 8).map((run) => run.id));
  const shown = Object.entries(data.curves).map(([id, { x, y }]) => {
    const run = byId.get(id);
    return { id, label: run.title, color: run.color, x, y, back: data.runs.length > 12 && !best.has(id) && run.state.icon !== "running" };
  });
  curves.set({ series: shown });
  $("curves-note").textContent = !data.sweep.metric ? "" : shown.length < data.n_curves ? `${data.sweep.metric}: ${shown.length} of ${data.n_curves} runs, best first` : data.sweep.metric;
  parallel.set({
    axes: data.axes,
    runs: data.runs.map((run) => ({ ...run, isBad: run.state.tone === "bad", values: { ...run.config, [metricKey()]: run.value, ...Object.fromEntries(Object.entries(run.values ?? {}).map(([name, one]) => [metricKey(name), one])) } })),
    ...first,
  });
  $("empty").hidden = data.runs.length > 0;
  $("tab-workspace").toggleAttribute("data-empty", data.runs.length === 0);
  importance.set({ metric: data.sweep.metric, stamp: `${data.sweep.n_done} ${data.sweep.version}` });
  table.set({ runs: data.runs, columns: columns(data), bestId: data.sweep.best?.run });
  $("rule").textContent = isSeveral() ? `each metric by its ${data.sweep.rule} value` : data.sweep.metric ? `ranked by the ${data.sweep.rule} value of ${data.sweep.metric}` : "";
  agents(data);
  bundles(data);
  definition.set(data.sweep);
}

setNow(data.now);
draw(data, { brushes: brushesOfAddress(), order: view.get("axes")?.split(" ").map(safeDecode) });
keepTimes();
tabs($("tabs"));
const refresh = live({ feed: data.address.feed, data: data.address.data, stamp: data.stamp, onData: draw });
if (view.get("like")) { tryOne(view.get("like")); view.set("like", null); }
