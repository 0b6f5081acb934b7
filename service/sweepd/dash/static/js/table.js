// The runs table: sorts, filters, picks; rows keep their place while the pointer is on them.

import { h, put, stateBadge } from "./dom.js";

/** Compare two cells; what is missing goes last in both directions. */
export function compareCells(a, b, isDown) {
  const missing = (v) => v === null || v === undefined || Number.isNaN(v);
  if (missing(a) || missing(b)) return Number(missing(a)) - Number(missing(b));
  const order = typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true });
  return isDown ? -order : order;
}

/**
 * A table of runs. A column is `{key, label, title?, get(run), show(run), right?, cls?}`.
 * `page` rows are shown at first; the rest is counted and one click away.
 */
export class RunsTable {
  constructor(root, { focus, columns, sort, noun = "runs", orderWords = () => "", page = 200, onSort = () => {}, canPick = true }) {
    Object.assign(this, { root, focus, columns, sort, noun, orderWords, page, onSort, canPick });
    this.limit = page;
    this.needle = "";
    this.rows = new Map();
    this.head = h("tr");
    this.body = h("tbody", {
      onpointerover: (event) => focus.hover(event.target.closest("tr")?.dataset.run ?? null),
      onpointerleave: () => { focus.hover(null); if (this.isLate) { this.isLate = false; this.draw(); } },
    });
    this.foot = h("div", { class: "more", role: "status" });
    root.append(h("div", { class: "scroll flush" }, h("table", { class: "table" }, h("thead", {}, this.head), this.body)), this.foot);
    focus.addEventListener("hover", () => this.point());
    focus.addEventListener("pick", () => this.light());
    focus.addEventListener("brush", () => this.draw());
  }

  set({ runs, columns = this.columns, bestId = this.bestId }) {
    this.runs = runs;
    this.columns = columns;
    this.bestId = bestId;
    this.draw({ isLive: true });
  }

  filter(needle) {
    this.needle = needle.trim().toLowerCase();
    this.draw();
  }

  visible() {
    const column = this.columns.find((one) => one.key === this.sort.key) ?? this.columns[0];
    return this.runs
      .filter((run) => this.focus.passes(run.id) && (!this.needle || this.columns.some((c) => String(c.get(run) ?? "").toLowerCase().includes(this.needle))))
      .sort((a, b) => compareCells(column.get(a), column.get(b), this.sort.isDown));
  }

  draw({ isLive = false } = {}) {
    if (!this.runs) return;
    this.drawHead();
    const all = this.visible();
    let shown = all.slice(0, this.limit);
    // While somebody points at the table, rows stay where they are; the order catches up afterwards.
    if (isLive && this.body.matches(":hover")) {
      const here = [...this.rows.keys()];
      const known = new Map(shown.map((run) => [run.id, run]));
      shown = [...here.map((id) => known.get(id)).filter(Boolean), ...shown.filter((run) => !this.rows.has(run.id))];
      this.isLate = true;
    }
    const next = new Map();
    const shape = `${this.bestId} ${this.columns.map((c) => c.key)}`;
    for (const run of shown) {
      const old = this.rows.get(run.id);
      const isSame = old && old.shape === shape && (old.run === run || old.text === JSON.stringify(run));
      next.set(run.id, isSame ? { ...old, run } : { run, shape, text: JSON.stringify(run), row: this.row(run) });
    }
    this.rows = next;
    const wanted = [...next.values()].map((one) => one.row);
    if (wanted.length !== this.body.children.length || wanted.some((row, i) => this.body.children[i] !== row)) {
      const held = document.activeElement;
      this.body.replaceChildren(...wanted);
      if (held?.isConnected && this.body.contains(held)) held.focus({ preventScroll: true });
    }
    this.light();
    this.drawFoot(all.length);
  }

  drawHead() {
    const key = JSON.stringify([this.columns.map((c) => [c.key, c.label]), this.sort]);
    if (key === this.headKey) return;
    this.headKey = key;
    put(this.head, this.canPick ? h("th", { class: "tick" }, h("span", { class: "visually-hidden" }, "Pick")) : null, this.columns.map((column) => {
      const isSorted = column.key === this.sort.key;
      return h("th", { class: `${column.right ? "right " : ""}${column.cls ?? ""}`, scope: "col", "aria-sort": isSorted ? (this.sort.isDown ? "descending" : "ascending") : null },
        h("button", { type: "button", title: column.title ?? null, onclick: () => this.sortBy(column) }, column.label, isSorted ? (this.sort.isDown ? " ↓" : " ↑") : ""));
    }));
  }

  sortBy(column) {
    const isSame = this.sort.key === column.key;
    this.sort = { key: column.key, isDown: isSame ? !this.sort.isDown : Boolean(column.downFirst) };
    this.onSort(this.sort);
    this.draw();
  }

  row(run) {
    const box = h("input", { type: "checkbox", "aria-label": `pick ${run.title}`, onchange: (event) => this.focus.pick(run.id, event.target.checked) });
    return h("tr", { data: { run: run.id, ...((run.id === this.bestId || run.front) && { best: "" }) } },
      this.canPick ? h("td", { class: "tick" }, box) : null,
      this.columns.map((column) => h("td", { class: `${column.right ? "right " : ""}${column.cls ?? ""}` }, column.show(run))));
  }

  drawFoot(total) {
    const all = this.runs.length;
    const shown = Math.min(this.limit, total);
    const of = total < all ? `${total} that match, of ${all} ${this.noun}` : `${all} ${this.noun}`;
    put(this.foot,
      total === 0 && all > 0 ? "No run passes the filter." : shown < total ? `Showing ${shown} of ${of}${this.orderWords(this.sort)}` : `All ${of}${this.orderWords(this.sort)}`,
      shown < total ? h("button", { class: "btn small", type: "button", onclick: () => { this.limit += 1000; this.draw(); } }, `Show ${Math.min(1000, total - shown)} more`) : null);
    this.foot.hidden = all === 0;
  }

  light() {
    for (const [id, { row }] of this.rows) {
      row.toggleAttribute("data-picked", this.focus.picked.has(id));
      const box = row.querySelector("input");
      if (box) box.checked = this.focus.picked.has(id);
    }
    this.point();
  }

  point() {
    this.pointed?.removeAttribute("data-hover");
    this.pointed = this.rows.get(this.focus.hovered)?.row;
    this.pointed?.setAttribute("data-hover", "");
  }
}

/** Return a run's name with its colour, linked to its page. */
export const nameCell = (run) => h("span", { class: "run-name" }, h("i", { class: "dot", style: { background: run.color } }), h("a", { href: run.url }, run.title));

/** Return a run's state, and why it ended where that says more. */
export const stateCell = (run) => stateBadge(run.state);
