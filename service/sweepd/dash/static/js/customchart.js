// Charts that `wandb.plot` makes: a preset's name, a table, and which of its columns play which part.
// The common presets are drawn here; of others the table is shown.

import { seriesColor } from "./color.js";
import { dataTable, readTable } from "./datatable.js";
import { h, put } from "./dom.js";
import { number } from "./format.js";
import { getFile } from "./loosejson.js";
import { Confusion } from "./confusion.js";
import { legendOf, XYPlot } from "./xyplot.js";

const MOST_SERIES = 50;
const MOST_BARS = 200;
const LARGEST = 25e6;  // bytes of a table that a page reads

const isText = (v) => v !== null && v !== undefined && v !== "";

/** Return rows as series of [x, y] by the value of a column, in the order in which they come. */
function grouped(rows, group, point, mark) {
  const found = new Map();
  for (const row of rows) {
    const name = group === null ? null : String(row[group]);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(point(row));
  }
  return [...found].slice(0, MOST_SERIES).map(([label, at], i) => ({ label, at, mark, color: seriesColor(i) }));
}

/** Return column -> x: a number's own, or the place of a text among the texts. */
function axis(rows, column) {
  if (rows.every((row) => typeof row[column] === "number" || row[column] === null)) return { of: (row) => row[column] ?? NaN, names: null };
  const names = [...new Set(rows.map((row) => String(row[column])))];
  const place = new Map(names.map((name, i) => [name, i]));
  return { of: (row) => place.get(String(row[column])), names };
}

function lines({ rows, at, strings, titles }, { x: xField, y: yField, group }) {
  const x = axis(rows, at(xField));
  const series = grouped(rows, at(group), (row) => [x.of(row), row[at(yField)]], "line");
  for (const one of series) one.at.sort((a, b) => a[0] - b[0]);
  return { series, xNames: x.names, xTitle: strings["x-axis-title"] ?? strings.xname ?? titles[xField], yTitle: strings["y-axis-title"] ?? titles[yField] };
}

function scatter({ rows, at, titles }) {
  const x = axis(rows, at("x"));
  return { series: grouped(rows, at("class"), (row) => [x.of(row), row[at("y")]], "points"), xNames: x.names, xTitle: titles.x, yTitle: titles.y };
}

function bars({ rows, at, titles }) {
  const names = rows.slice(0, MOST_BARS).map((row) => String(row[at("label")]));
  const series = [{ label: titles.value, mark: "bars", color: seriesColor(0), at: rows.slice(0, MOST_BARS).map((row, i) => [i, row[at("value")]]) }];
  return { series, xNames: names, xTitle: titles.label, yTitle: titles.value };
}

/** Return values counted in bins of equal width, as many as Freedman and Diaconis advise. */
export function counted(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return [];
  const [lo, hi] = [sorted[0], sorted[sorted.length - 1]];
  if (lo === hi) return [[lo, sorted.length, lo - 0.5, lo + 0.5]];
  const quarter = (q) => sorted[Math.floor((sorted.length - 1) * q)];
  const width = (2 * (quarter(0.75) - quarter(0.25))) / Math.cbrt(sorted.length);
  const n = Math.max(5, Math.min(60, width > 0 ? Math.ceil((hi - lo) / width) : 10));
  const step = (hi - lo) / n;
  const counts = new Array(n).fill(0);
  for (const v of sorted) counts[Math.min(n - 1, Math.floor((v - lo) / step))] += 1;
  return counts.map((count, i) => [lo + (i + 0.5) * step, count, lo + i * step, lo + (i + 1) * step]);
}

function histogram({ rows, at, titles }) {
  return { series: [{ label: "count", mark: "bars", color: seriesColor(0), at: counted(rows.map((row) => row[at("value")])) }], xTitle: titles.value, yTitle: "count" };
}

/** Preset -> [its fields, spec of the plot]. */
const PRESETS = {
  "wandb/line/v0": [["x", "y"], (table) => lines(table, { x: "x", y: "y", group: "stroke" })],
  "wandb/lineseries/v0": [["step", "lineVal"], (table) => lines(table, { x: "step", y: "lineVal", group: "lineKey" })],
  "wandb/area-under-curve/v0": [["x", "y"], (table) => lines(table, { x: "x", y: "y", group: "class" })],
  "wandb/scatter/v0": [["x", "y"], scatter],
  "wandb/bar/v0": [["label", "value"], bars],
  "wandb/histogram/v0": [["value"], histogram],
  "wandb/confusion_matrix/v1": [["Actual", "Predicted", "nPredictions"], null],
};

/** Return a custom chart's panel. */
export function customChart(chart) {
  const place = h("div", {}, h("p", { class: "empty faint" }, "Loading…"));
  const title = chart.strings.title || chart.key;
  const button = h("button", { class: "btn small plain", type: "button", "aria-pressed": "false", hidden: true }, "Table");
  const card = h("section", { class: "card panel", data: { key: chart.key, preset: chart.preset }, "aria-label": title },
    h("header", {}, h("h2", { title: chart.key }, title), h("span", { class: "now" }, title === chart.key ? "" : chart.key), button), place);
  const draw = async () => {
    const { table } = chart;
    if (!table.link) { put(place, h("p", { class: "empty faint" }, "The chart's table has not arrived yet.")); return; }
    if (table.size > LARGEST) { put(place, dataTable(table)); return; }
    const found = await getFile(table.link);
    const read = readTable(found);
    if (!read) { put(place, h("p", { class: "empty" }, found === null ? "The server did not answer. " : "The chart's table could not be read. ", h("button", { class: "btn small", type: "button", onclick: draw }, "Try again"))); return; }
    const show = () => { if (button.getAttribute("aria-pressed") === "true") put(place, dataTable({ ...table, table: read })); else chartInto(place, chart, read, title); };
    button.hidden = !(chart.preset in PRESETS);
    button.onclick = () => { button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true")); show(); };
    show();
  };
  return { card, draw };
}

function chartInto(place, chart, { columns, rows }, title) {
  const preset = PRESETS[chart.preset];
  const name = (field) => chart.fields[field] ?? null;
  const at = (field) => { const i = columns.indexOf(name(field)); return i < 0 ? null : i; };
  const missing = preset?.[0].filter((field) => at(field) === null) ?? [];
  if (!preset || missing.length) {
    const why = preset ? `The table has no column for ${missing.join(", ")}` : `The preset ${chart.preset_name || chart.preset} is not drawn here`;
    const spec = chart.spec_link ? [" ", h("a", { href: chart.spec_link }, "Its specification")] : null;
    put(place, h("p", { class: "note pad" }, `${why}; this is its table.`, spec), dataTable({ ...chart.table, table: { columns, rows } }));
    return;
  }
  if (rows.length === 0) { put(place, h("p", { class: "empty faint" }, "the table has no rows")); return; }
  const box = h("div");
  if (preset[1] === null) {
    put(place, box);
    new Confusion(box, { label: title }).set({ rows: rows.map((row) => preset[0].map((field) => row[at(field)])) });
    return;
  }
  const titles = new Proxy({}, { get: (_, field) => name(field) });
  const spec = preset[1]({ rows, at, strings: filled(chart.strings), titles });
  put(place, box, legendOf(spec.series), rows.length && spec.series.length === MOST_SERIES ? h("p", { class: "note pad" }, `The first ${number(MOST_SERIES)} series.`) : null);
  new XYPlot(box, { label: title }).set(spec);
}

const filled = (strings) => Object.fromEntries(Object.entries(strings).filter(([, text]) => isText(text)));
