// A run's page.

import { runColor } from "./color.js";
import { h, icon, pageData, put, stateBadge, tabs } from "./dom.js";
import { bytes, keepTimes, lasting, number, setNow, value, when } from "./format.js";
import { customChart } from "./customchart.js";
import { drawDecision } from "./decision.js";
import { HeatMap } from "./heatmap.js";
import { live } from "./live.js";
import { LogView } from "./logview.js";
import { MediaWall } from "./media.js";
import { getJson, Panels, panelTools, sectionsOf, withKeys } from "./panels.js";
import { runArtifacts } from "./runartifacts.js";
import { act, banners, toggle } from "./shared.js";
import { inOrder, systemTitle } from "./system.js";

const $ = (id) => document.getElementById(id);
const data = pageData();
const color = runColor(data.run.id);
$("dot").style.background = color;

const curvesOf = (stream) => async (keys, x) => {
  const found = await getJson(withKeys(`${data.address.data}/series`, keys, { x, stream }));
  return found && Object.fromEntries(Object.entries(found).map(([key, one]) => [key, [{ id: key, label: key, color, ...one }]]));
};

const charts = new Panels($("panels"), {
  load: curvesOf("history"),
  xOf: (key) => data.steps[key] ?? null,
  emptyText: "Numbers that the run gives to wandb.log are drawn here.",
});
const system = new Panels($("system"), {
  load: curvesOf("events"),
  title: "System",
  few: Infinity,
  titleOf: systemTitle,
  emptyText: "The client sends CPU, memory, disk, network and GPU figures some seconds after the start.",
});
system.x = "_runtime";
const log = new LogView(`${data.address.data}/log`);

// --- histograms, custom charts, media

const histograms = new Map();

function drawHistograms() {
  const keys = data.keys.histogram ?? [];
  if (drawHistograms.text !== JSON.stringify(keys)) {
    drawHistograms.text = JSON.stringify(keys);
    histograms.clear();
    put($("histograms"), sectionsOf(keys, "Histograms").map(([section, some]) => [sectionHead(section, some.length), h("div", { class: "panels" }, some.map(histogramPanel))]));
  }
  for (const panel of histograms.values()) panel.refresh();
}

const sectionHead = (title, n) => h("div", { class: "section" }, h("h2", {}, title), h("span", { class: "faint num" }, n));

/** A panel that fetches when it is in sight. */
function histogramPanel(key) {
  const place = h("div");
  const card = h("section", { class: "card panel", data: { key }, "aria-label": key }, h("header", {}, h("h2", { title: key }, key)), place);
  const heat = new HeatMap(place, { label: `${key} over steps` });
  histograms.set(key, whenSeen(card, async () => {
    const found = await getJson(withKeys(`${data.address.data}/histograms`, [key]));
    if (found) heat.set(found);
    return found !== null;
  }));
  return card;
}

/** Call `load` while `card` is in sight and stale; it says whether it could. */
function whenSeen(card, load) {
  let isSeen = false;
  let isStale = true;
  const look = async () => {
    if (!isSeen || !isStale) return;
    isStale = false;
    if (!await load()) isStale = true;
  };
  new IntersectionObserver(([entry]) => { isSeen = entry.isIntersecting; look(); }, { rootMargin: "240px" }).observe(card);
  return { refresh: () => { isStale = true; look(); } };
}

function drawCharts() {
  const text = JSON.stringify(data.charts.map(({ table, ...rest }) => [rest, table.path, Boolean(table.link)]));
  if (drawCharts.text === text) return;
  drawCharts.text = text;
  put($("custom-charts"), sectionsOf(data.charts.map((one) => one.key), "Custom charts").map(([section, some]) => [sectionHead(section, some.length),
    h("div", { class: "panels wide" }, some.map((key) => {
      const { card, draw } = customChart(data.charts.find((one) => one.key === key));
      whenSeen(card, async () => { await draw(); return true; });
      return card;
    }))]));
}

const media = new MediaWall($("media"), `${data.address.data}/media`);

/** Return the keys of media by kind; a chart's table stands with its chart. */
function mediaKeys() {
  const drawn = new Set(data.charts.map((one) => one.table_key));
  return Object.fromEntries(Object.entries(data.media).map(([kind, keys]) => [kind, keys.filter((key) => !drawn.has(key))]));
}

// --- the head and the overview

function head({ run, pruned, attempts, alerts: told }) {
  put($("state"), stateBadge(run.state, { pill: true }));
  put($("facts"),
    run.sweep ? h("span", {}, "trial ", run.trial ?? "", " of sweep ", h("a", { href: run.sweep_url }, run.sweep)) : null,
    h("span", {}, run.ended ? "took " : "for ", lasting(run.started, run.ended)),
    h("span", {}, "made ", when(run.created), run.user ? ` by ${run.user}` : ""),
    run.host ? h("span", {}, run.host) : null,
    run.last_step !== null ? h("span", {}, `step ${number(run.last_step)}`) : null,
    run.tags.map((tag) => h("span", { class: "state pill" }, tag)));
  document.title = `${run.title} · ${run.state.word}`;
  const isStopping = run.is_live && run.stop_requested;
  const key = JSON.stringify([run.is_live, run.is_stuck, run.can_retry, run.stop_requested]);
  if (head.key !== key) {
    head.key = key;
    put($("controls"),
      run.sweep && run.trial !== null ? h("a", { class: "btn", id: "again", href: `${run.sweep_url}?like=${encodeURIComponent(run.name)}`, title: "put its configuration, with changes of yours, into the sweep" }, "Run again with edits") : null,
      run.can_retry ? h("button", { class: "btn", type: "button", title: "hand it out again under the same id: one attempt more", data: { control: "retry" }, onclick: (event) => ask(event, data.address.retry) }, icon("play"), "Retry") : null,
      run.is_stuck ? h("button", { class: "btn", type: "button", title: "nothing is heard of its process: say that it was done", data: { control: "finish" }, onclick: (event) => ask(event, data.address.finish) }, icon("finished"), "Mark as finished") : null,
      run.is_live ? h("button", { class: "btn", type: "button", disabled: Boolean(isStopping), title: "ask its process to stop", data: { control: "stop" }, onclick: (event) => ask(event, data.address.stop) }, icon("stop"), isStopping ? "Stopping…" : "Stop run") : null);
  }
  const items = [];
  if (run.state.why && run.state.tone !== "run" && run.state.tone !== "good") items.push({ tone: run.state.tone, icon: run.state.icon, text: run.state.why, more: run.log_lines ? { href: "#logs", text: "See the logs" } : null });
  if (isStopping) items.push({ tone: "quiet", icon: "info", text: `Asked to stop: ${run.stop_requested}` });
  if (told.length) items.push({ tone: { ERROR: "bad", WARN: "warn" }[told[0].severity] ?? "quiet", icon: "info", text: `${told[0].title}: ${told[0].text}`.slice(0, 300), more: { href: "#overview", text: told.length > 1 ? `All ${told.length} alerts` : "See the alert" } });
  if (pruned) items.push({ tone: "quiet", icon: "info", text: pruned });
  if (attempts.length > 1) items.push({ tone: "quiet", icon: "info", text: `Attempt ${attempts.length}: see the Overview for how the ones before ended.` });
  const text = JSON.stringify(items);
  if (head.items !== text) { head.items = text; banners($("banners"), items, icon); }
}

async function ask(event, address) {
  event.currentTarget.disabled = true;
  if (await act(address)) await refresh();
}

const pair = (name, content) => (content === null || content === undefined || content === "" ? null : [h("dt", {}, name), h("dd", {}, content)]);

function about({ run }) {
  put($("about"),
    pair("State", stateBadge(run.state)), pair("Id", h("code", {}, run.name)),
    pair("Sweep", run.sweep ? h("a", { href: run.sweep_url }, run.sweep) : null),
    pair("Suggested by", { initial: "the definition's initial configurations", search: "the search", filler: "a space-filling point, since the search was not ready", enqueued: "a person" }[run.origin] ?? run.origin),
    pair("Started", run.started ? when(run.started) : null), pair("Duration", lasting(run.started, run.ended)),
    pair("Exit code", run.exit_code), pair("Host", run.host), pair("Program", run.program ? h("code", {}, run.program) : null),
    pair("Group", run.group), pair("Job type", run.job_type), pair("Description", run.description), pair("Notes", run.notes ? h("span", { class: "lines" }, run.notes) : null),
    pair("Git", run.repo || run.commit ? h("code", {}, [run.repo, run.commit].filter(Boolean).join(" @ ")) : null),
    pair("Rows logged", run.history_lines.toLocaleString()), pair("User", run.user));
}

function attempts({ attempts: list }) {
  $("attempts-card").hidden = list.length === 0;
  put($("attempts"), h("div", { class: "scroll flush" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, ["#", "State", "Agent", "Host", "Handed out", "Took", "Ended with"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, list.map((one) => h("tr", {},
      h("td", {}, one.number), h("td", {}, stateBadge(one.state)), h("td", { class: "clip", title: one.agent }, one.agent), h("td", {}, [one.host, one.device].filter(Boolean).join(" · ") || "–"),
      h("td", {}, when(one.issued)), h("td", {}, one.started ? lasting(one.started, one.ended) : "–"),
      h("td", { class: "clip", title: one.message }, [one.message, one.signal ? `signal ${one.signal}` : null, one.exit_code !== null ? `exit ${one.exit_code}` : null].filter(Boolean).join(" · ") || "–")))))));
}

const SEVERITY = { INFO: ["Info", "info", "quiet"], WARN: ["Warning", "crashed", "warn"], ERROR: ["Error", "failed", "bad"] };

function alerts({ alerts: list }) {
  $("alerts-card").hidden = list.length === 0;
  put($("alerts-note"), list.length ? String(list.length) : "");
  put($("alerts"), h("div", { class: "scroll flush" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, ["Alert", "Severity", "Text", "When"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, list.map((one) => {
      const [word, sign, tone] = SEVERITY[one.severity] ?? SEVERITY.INFO;
      return h("tr", {},
        h("td", { class: "strong" }, one.title), h("td", {}, stateBadge({ word, icon: sign, tone, why: null })),
        h("td", { class: "wrap" }, one.text), h("td", {}, when(one.at), one.n_repeats ? h("span", { class: "faint" }, ` and ${one.n_repeats} more like it`) : null));
    })))));
}

function pairs(id, object, needle) {
  const shown = Object.entries(object).filter(([key, item]) => key !== "_timestamp" && (!needle || key.toLowerCase().includes(needle) || value(item).toLowerCase().includes(needle))).sort(([a], [b]) => a.localeCompare(b));
  put($(id), shown.length ? shown.map(([key, item]) => [h("dt", { class: "mono" }, key), h("dd", { class: "mono" }, summaryText(item))]) : h("dt", {}, needle ? "nothing matches" : "nothing here"));
}

function summaryText(item) {
  if (item !== null && typeof item === "object" && typeof item._type === "string") return `(${item._type})`;
  return typeof item === "number" ? String(item) : value(item);
}

const needles = { config: "", summary: "" };
for (const id of ["config", "summary"]) {
  $(`${id}-filter`).addEventListener("input", (event) => { needles[id] = event.target.value.trim().toLowerCase(); pairs(id, data[id], needles[id]); });
}

// --- files

const SHOWN_TYPES = /^(image\/(png|jpeg|gif|webp)|text\/plain|application\/json)$/;

function files({ files: list, n_files: total, lacking }) {
  $("n-files").textContent = String(total);
  $("files-note").textContent = list.length ? `${bytes(list.reduce((sum, one) => sum + one.size, 0))}${list.length < total ? `, showing ${list.length} of ${total}` : ""}` : "";
  if (list.length === 0) {
    put($("files"), h("div", { class: "empty" }, icon("file"), h("h3", {}, "No files yet"), h("p", {}, "What the run gives to ", h("code", {}, "wandb.save"), " appears here.")));
    return;
  }
  put($("files"), h("div", { class: "scroll flush" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, ["Name", "Kind", "Size", "Changed", ""].map((text, i) => h("th", { scope: "col", class: i === 2 ? "right" : null }, text)))),
    h("tbody", {}, list.map((one) => h("tr", {},
      h("td", {}, h("span", { class: "run-name" }, icon("file", { width: 14, height: 14, class: "faint" }), h("a", { href: one.link, target: SHOWN_TYPES.test(one.type) ? "_blank" : null, rel: "noopener" }, one.name))),
      h("td", { class: "dim" }, one.name.endsWith(".onnx") ? "ONNX model" : one.type), h("td", { class: "right" }, bytes(one.size)), h("td", {}, when(one.updated)),
      h("td", { class: "right" }, h("span", { class: "run-name" },
        one.view ? h("a", { class: "btn small", href: one.view }, icon("graph"), "View the model") : null,
        h("a", { class: "btn small", href: one.link, download: one.name.split("/").pop() }, icon("download"), "Download")))))))),
    lacking ? h("p", { class: "more" }, "Netron draws models here where it is installed beside the service: ", h("code", {}, lacking)) : null);
}

// --- everything

let open = "charts";

function draw(fresh) {
  Object.assign(data, fresh, { address: data.address });
  head(data);
  about(data);
  attempts(data);
  drawDecision(data);
  runArtifacts(data);
  alerts(data);
  pairs("config", data.config, needles.config);
  pairs("summary", data.summary, needles.summary);
  files(data);
  $("n-media").textContent = String(Object.values(mediaKeys()).flat().length);
  $("n-logs").textContent = data.run.log_lines.toLocaleString();
  fill();
}

/** Fetch what the open tab shows. */
function fill() {
  if (open === "charts") {
    const first = (key) => Number(key !== data.metric);
    charts.keys((data.keys.scalar ?? []).filter((key) => !key.startsWith("_")).sort((a, b) => first(a) - first(b)));
    drawCharts();
    drawHistograms();
  }
  if (open === "media") media.keys(mediaKeys());
  if (open === "system") system.keys(inOrder(data.system));
  if (open === "logs") log.refresh();
}

setNow(data.now);
panelTools(charts);
toggle($("together"), (isOn) => { media.isTogether = isOn; });
tabs($("tabs"), (name) => { open = name; fill(); });
draw(data);
keepTimes();
const refresh = live({ feed: data.address.feed, data: data.address.data, stamp: data.stamp, onData: draw });
