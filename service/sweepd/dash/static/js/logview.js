// The console of a run: the last lines, earlier ones on demand, new ones as they come.

import { plain, render } from "./ansi.js";
import { h, put } from "./dom.js";
import { getJson } from "./panels.js";
import { toggle, watchFilter } from "./shared.js";

const KEPT = 20000;  // lines kept in the page

const $ = (id) => document.getElementById(id);

/** The Logs tab. */
export class LogView {
  constructor(address) {
    this.address = address;
    this.box = $("log-lines");
    this.lines = new Map();
    this.needle = "";
    this.isFollowing = true;
    $("log-download").href = address.replace(/log$/, "output.log");
    watchFilter($("log-search"), (text) => { this.needle = text.trim().toLowerCase(); this.draw(); });
    toggle($("log-wrap"), (isOn) => this.box.classList.toggle("wrap", isOn));
    toggle($("log-tail"), (isOn) => { this.isFollowing = isOn; this.follow(); });
    this.box.addEventListener("wheel", (event) => { if (event.deltaY < 0) this.unfollow(); }, { passive: true });
  }

  unfollow() {
    this.isFollowing = false;
    $("log-tail").setAttribute("aria-pressed", "false");
  }

  follow() { if (this.isFollowing) this.box.scrollTop = this.box.scrollHeight; }

  /** Fetch the newest lines; a progress bar may have rewritten the last ones. */
  async refresh() {
    if (this.isBusy) { this.isLate = true; return; }
    this.isBusy = true;
    const page = await getJson(this.address);
    this.isBusy = false;
    if (page) {
      const first = page.lines[0]?.[0] ?? 0;
      const last = Math.max(-1, ...this.lines.keys());
      if (this.lines.size && first > last + 1) this.lines.clear();  // a gap: start over from here
      this.take(page);
      if (this.start === undefined || this.lines.size === page.lines.length) Object.assign(this, { start: page.start, hasEarlier: page.has_more });
    }
    if (this.isLate) { this.isLate = false; this.refresh(); }
  }

  async earlier() {
    const height = this.box.scrollHeight;
    const page = await getJson(`${this.address}?before=${encodeURIComponent(this.start)}`);
    if (!page) return;
    this.unfollow();
    Object.assign(this, { start: page.start, hasEarlier: page.has_more });
    this.take(page);
    this.box.scrollTop += this.box.scrollHeight - height;
  }

  take(page) {
    for (const [number, text, at, level] of page.lines) this.lines.set(number, { number, text, at, level });
    if (this.lines.size > KEPT) {
      for (const number of [...this.lines.keys()].sort((a, b) => a - b).slice(0, this.lines.size - KEPT)) this.lines.delete(number);
      this.hasEarlier = true;
    }
    this.total = page.total;
    this.draw();
  }

  draw() {
    const all = [...this.lines.values()].sort((a, b) => a.number - b.number);
    const shown = this.needle ? all.filter((line) => plain(line.text).toLowerCase().includes(this.needle)) : all;
    const more = this.hasEarlier ? h("div", {}, h("span", { class: "n" }), h("button", { class: "btn small", type: "button", onclick: () => this.earlier() }, "Show earlier lines")) : null;
    put(this.box, more, shown.map((line) => h("div", { class: line.level === "error" ? "err" : null },
      h("span", { class: "n" }, line.number + 1), line.at ? h("span", { class: "at", title: line.at }, line.at.slice(11, 19)) : null, render(line.text, this.needle))));
    if (all.length === 0) put(this.box, h("p", { class: "empty" }, "Nothing on the console yet."));
    const of = all.length < this.total ? `the last ${all.length.toLocaleString()} of ${this.total.toLocaleString()} lines` : `${all.length.toLocaleString()} lines`;
    $("log-note").textContent = this.needle ? `${shown.length.toLocaleString()} match, in ${of}` : all.length ? of : "";
    this.follow();
  }
}
