// A model's graph as the client logged it: its layers in order, as a table.

import { dataTable, readTable } from "./datatable.js";
import { h, icon, put } from "./dom.js";
import { value as text } from "./format.js";
import { getFile } from "./loosejson.js";

/** Return a graph's panel; it fetches its file at once. */
export function graphTable(one) {
  const root = h("div", { class: "datatable" }, h("p", { class: "empty faint" }, "Loading…"));
  if (!one.link) put(root, h("p", { class: "missing" }, icon("pending"), "The graph has not arrived yet."));
  else fill(root, one);
  return root;
}

async function fill(root, one) {
  const found = await getFile(one.link);
  const nodes = Array.isArray(found?.nodes) ? found.nodes.filter((node) => node !== null && typeof node === "object") : null;
  if (!nodes) {
    put(root, h("p", { class: "empty" }, found === null ? "The server did not answer." : "This file is no graph."));
    return;
  }
  const shape = (item) => (Array.isArray(item) ? item.map((part) => (Array.isArray(part) ? `(${part.join(", ")})` : text(part))).join(" × ") : item === undefined ? null : text(item));
  const columns = ["Layer", "Kind", "Output", "Parameters"];
  const rows = nodes.map((node) => [node.name ?? node.id, node.class_name ?? null, shape(node.output_shape), shape(node.num_parameters ?? node.size)]);
  const edges = Array.isArray(found.edges) ? found.edges.length : 0;
  put(root, h("p", { class: "note pad" }, `${nodes.length} layers, ${edges} connections`), dataTable({ ...one, table: readTable({ columns, data: rows }) }));
}
