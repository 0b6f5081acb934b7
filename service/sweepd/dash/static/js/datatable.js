// A table that a run logged: read from its file, a page at a time, sorted by any column.

import { h, icon, put } from "./dom.js";
import { bytes, fixed, value as text } from "./format.js";
import { getFile } from "./loosejson.js";
import { compareCells } from "./table.js";

const PAGE = 15;
const LARGEST = 25e6;  // bytes that a page reads; beyond, the file is there to download

/** Return the rows and columns of a table's file, or null if it has none. */
export function readTable(found) {
  if (!Array.isArray(found?.columns) || !Array.isArray(found?.data)) return null;
  return { columns: found.columns.map(String), rows: found.data.filter(Array.isArray) };
}

/** Return a table's panel; it fetches its file at once, unless `one.table` has its content. */
export function dataTable(one) {
  const root = h("div", { class: "datatable" }, h("p", { class: "empty faint" }, "Loading…"));
  if (one.table) new DataTable(root, one, one.table);
  else if (!one.link) put(root, h("p", { class: "missing" }, icon("pending"), "The table has not arrived yet."));
  else if (one.size > LARGEST) put(root, foot(one, `${bytes(one.size)} are too much for a page.`));
  else fill(root, one);
  return root;
}

async function fill(root, one) {
  const found = await getFile(one.link);
  const table = readTable(found);
  if (table) new DataTable(root, one, table);
  else put(root, h("p", { class: "empty" }, found === null ? "The server did not answer. " : "This file is no table. ", found !== null ? null : h("button", { class: "btn small", type: "button", onclick: () => fill(root, one) }, "Try again")));
}

const foot = (one, words, ...more) => h("div", { class: "more" }, h("span", {}, words), more, h("a", { class: "btn small", href: one.link, download: one.path.split("/").pop() }, icon("download"), "Download"));

class DataTable {
  constructor(root, one, { columns, rows }) {
    Object.assign(this, { root, one, columns, rows, page: 0, by: null, isDown: false, needle: "" });
    this.isNumber = columns.map((_, i) => rows.slice(0, 200).some((row) => typeof row[i] === "number") && rows.slice(0, 200).every((row) => typeof row[i] === "number" || row[i] === null));
    this.field = rows.length > PAGE ? h("input", { class: "field", type: "search", placeholder: "Filter rows", "aria-label": "Filter the rows", oninput: () => { this.needle = this.field.value.trim().toLowerCase(); this.page = 0; this.draw(); } }) : null;
    this.head = h("tr");
    this.body = h("tbody");
    this.foot = h("div");
    put(root, this.field ? h("div", { class: "tools" }, this.field) : null,
      columns.length ? h("div", { class: "scroll flush", tabindex: 0, role: "region", "aria-label": "table" }, h("table", { class: "table" }, h("thead", {}, this.head), this.body)) : null, this.foot);
    this.draw();
  }

  wanted() {
    const passing = this.needle ? this.rows.filter((row) => row.some((cell) => text(cell).toLowerCase().includes(this.needle))) : this.rows;
    return this.by === null ? passing : [...passing].sort((a, b) => compareCells(a[this.by], b[this.by], this.isDown));
  }

  draw() {
    const all = this.wanted();
    const last = Math.max(0, Math.ceil(all.length / PAGE) - 1);
    this.page = Math.min(this.page, last);
    const from = this.page * PAGE;
    const shown = all.slice(from, from + PAGE);
    put(this.head, this.columns.map((name, i) => h("th", { class: this.isNumber[i] ? "right" : null, scope: "col", "aria-sort": this.by === i ? (this.isDown ? "descending" : "ascending") : null },
      h("button", { type: "button", onclick: () => this.sort(i) }, name, this.by === i ? (this.isDown ? " ↓" : " ↑") : ""))));
    put(this.body, shown.map((row) => h("tr", {}, this.columns.map((_, i) => cell(row[i], this.isNumber[i])))));
    const words = all.length === 0 ? (this.rows.length ? "No row matches." : "The table has no rows.")
      : `${from + 1}–${from + shown.length} of ${all.length.toLocaleString()}${all.length < this.rows.length ? ` that match, of ${this.rows.length.toLocaleString()}` : ""} rows`;
    const step = (by, name, sign, isOff) => h("button", { class: "btn small", type: "button", "aria-label": name, disabled: isOff, onclick: () => { this.page += by; this.draw(); } }, sign);
    put(this.foot, foot(this.one, words, last > 0 ? [step(-1, "the page before", "‹", this.page === 0), step(1, "the next page", "›", this.page === last)] : null));
  }

  sort(i) {
    this.isDown = this.by === i && !this.isDown;
    this.by = i;
    this.page = 0;
    this.draw();
  }
}

function cell(item, isRight) {
  if (item === null || item === undefined) return h("td", { class: isRight ? "faint right" : "faint" }, "–");
  if (typeof item === "number") return h("td", { class: isRight ? "right" : null, title: String(item) }, fixed(item));
  const words = typeof item === "object" && typeof item._type === "string" ? `(${item._type})` : text(item);
  return h("td", { class: "clip", title: words.slice(0, 1000) }, words);
}
