// Figures of plotly and bokeh. Plotly's lines, points, bars and histograms are drawn here; what else
// there is in a figure is there to download, and that is said.

import { seriesColor } from "./color.js";
import { counted } from "./customchart.js";
import { h, icon, put } from "./dom.js";
import { getFile } from "./loosejson.js";
import { legendOf, XYPlot } from "./xyplot.js";

const LARGEST = 25e6;  // bytes of a figure that a page reads
const TYPES = { i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array };
const DRAWN = new Set(["scatter", "scattergl", "bar", "histogram"]);

/** Return a column of a trace: a list, or numbers packed as plotly packs them; null for neither. */
export function column(item) {
  if (Array.isArray(item)) return item;
  const Kind = TYPES[item?.dtype];
  if (!Kind || typeof item.bdata !== "string" || item.shape) return null;
  try {
    const raw = Uint8Array.from(atob(item.bdata), (sign) => sign.charCodeAt(0));
    return [...new Kind(raw.buffer)];
  } catch {
    return null;
  }
}

/** Return a figure's panel; it fetches its file at once. */
export function figurePanel(one) {
  const root = h("div", {}, h("p", { class: "empty faint" }, "Loading…"));
  if (!one.link) put(root, h("p", { class: "missing" }, icon("pending"), "The figure has not arrived yet."));
  else if (!one.path.endsWith(".plotly.json")) put(root, offer(one, "Figures of Bokeh need its own scripts, which this page does not run."));
  else if (one.size > LARGEST) put(root, offer(one, "The figure is too large for a page."));
  else fill(root, one);
  return root;
}

function offer(one, words) {
  return h("div", { class: "fetch" }, h("p", {}, words), h("a", { class: "btn small", href: one.link, download: one.path.split("/").pop() }, icon("download"), "Download its data"));
}

async function fill(root, one) {
  const found = await getFile(one.link);
  if (!Array.isArray(found?.data)) {
    put(root, found === null ? h("p", { class: "empty" }, "The server did not answer. ", h("button", { class: "btn small", type: "button", onclick: () => fill(root, one) }, "Try again")) : offer(one, "This file is no figure of plotly."));
    return;
  }
  const layout = found.layout ?? {};
  const spec = specOf(found.data, layout);
  if (!spec) {
    const kinds = [...new Set(found.data.map((trace) => String(trace?.type ?? "scatter")))].join(", ");
    put(root, offer(one, `This figure of plotly (${kinds || "without traces"}) is not drawn here; plotly opens its data: plotly.io.from_json.`));
    return;
  }
  const title = words(layout.title);
  const box = h("div");
  put(root, title ? h("p", { class: "figure-title" }, title) : null, box, legendOf(spec.series), h("p", { class: "links" }, h("a", { href: one.link, download: one.path.split("/").pop() }, "Its data")));
  new XYPlot(box, { label: title || one.path }).set(spec);
}

const words = (title) => (typeof title === "string" ? title : typeof title?.text === "string" ? title.text : "").replace(/<[^>]*>/g, "");

/** Return a figure as a plot, or null if something in it would be missing. */
export function specOf(traces, layout) {
  const shown = traces.filter((trace) => trace && trace.visible !== false && trace.visible !== "legendonly").slice(0, 60);
  if (!shown.length || !shown.every((trace) => DRAWN.has(trace.type ?? "scatter") && (trace.xaxis ?? "x") === "x" && (trace.yaxis ?? "y") === "y" && trace.orientation !== "h" && !trace.fill?.startsWith?.("to"))) return null;
  if ([layout.xaxis, layout.yaxis].some((axis) => axis?.type === "log" || axis?.type === "date")) return null;
  const names = new Map();
  const hasNames = shown.some((trace) => trace.type !== "histogram" && (column(trace.x) ?? []).some((v) => typeof v === "string"));
  const place = (v) => {
    if (!hasNames) return v;
    if (!names.has(String(v))) names.set(String(v), names.size);
    return names.get(String(v));
  };
  const series = shown.map((trace, i) => {
    const [xs, ys] = [column(trace.x), column(trace.y)];
    const color = typeof trace.marker?.color === "string" && CSS.supports("color", trace.marker.color) ? trace.marker.color : typeof trace.line?.color === "string" && CSS.supports("color", trace.line.color) ? trace.line.color : seriesColor(i);
    const label = typeof trace.name === "string" ? trace.name : null;
    if (trace.type === "histogram") return xs ? { label, color, mark: "bars", at: counted(xs) } : null;
    if (!ys) return null;
    const at = ys.map((y, k) => [place(xs ? xs[k] : k), y]);
    const mode = typeof trace.mode === "string" ? trace.mode : "lines";
    return { label, color, mark: trace.type === "bar" ? "bars" : mode.includes("lines") ? "line" : "points", at };
  });
  if (series.some((one) => one === null)) return null;
  return { series, xNames: hasNames ? [...names.keys()] : null, xTitle: words(layout.xaxis?.title) || null, yTitle: words(layout.yaxis?.title) || null };
}
