// A sweep's definition: its versions, what differs between two of them, and its editor.

import { copyText, h, icon, put } from "./dom.js";
import { when } from "./format.js";
import { getJson } from "./panels.js";
import { send } from "./shared.js";
import { paintYaml } from "./yaml.js";

const $ = (id) => document.getElementById(id);
const AROUND = 3;  // lines shown around a change
const MOST = 1500;  // lines that are compared; of longer texts everything is shown as changed

/** Return the lines of two texts as `[sign, line]`, " " for those of both. */
export function diffLines(before, after) {
  let [a, b] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const head = a.slice(0, start).map((line) => [" ", line]);
  const tail = a.slice(a.length - end).map((line) => [" ", line]);
  [a, b] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  if (a.length > MOST || b.length > MOST) return [...head, ...a.map((line) => ["-", line]), ...b.map((line) => ["+", line]), ...tail];
  // common[i][j]: the length of the longest common part of a[i:] and b[j:].
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  }
  const middle = [];
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    if (i < a.length && j < b.length && a[i] === b[j]) { middle.push([" ", a[i]]); i += 1; j += 1; }
    else if (i < a.length && (j === b.length || common[i + 1][j] >= common[i][j + 1])) { middle.push(["-", a[i]]); i += 1; }
    else { middle.push(["+", b[j]]); j += 1; }
  }
  return [...head, ...middle, ...tail];
}

/** Return what differs, as lines with some around them. */
function paintDiff(before, after) {
  const lines = diffLines(before, after);
  const isNear = (i) => lines.slice(Math.max(0, i - AROUND), i + AROUND + 1).some(([sign]) => sign !== " ");
  const shown = [];
  lines.forEach(([sign, line], i) => {
    if (isNear(i)) shown.push(h("div", { class: "diff", data: { sign } }, `${sign} ${line}`));
    else if (i > 0 && isNear(i - 1)) shown.push(h("div", { class: "diff faint" }, "  …"));
  });
  return shown.length ? shown : [h("div", { class: "faint" }, "no difference")];
}

/** The Definition tab. `set(sweep)` tells it the version that holds. */
export class Definition {
  constructor({ address, onSaved }) {
    Object.assign(this, { address, onSaved, versions: [], text: $("yaml").textContent });
    paintYaml($("yaml"), this.text);
    $("version").addEventListener("change", () => this.show());
    $("against").addEventListener("change", () => this.show());
    $("copy-yaml").addEventListener("click", (event) => copyText(event.currentTarget, this.chosen()?.definition ?? this.text));
    $("edit").addEventListener("click", () => this.edit());
    $("editor-check").addEventListener("click", () => this.check());
    $("editor-save").addEventListener("click", () => this.save());
    $("editor-leave").addEventListener("click", () => this.leave());
    $("editor-text").addEventListener("input", () => { $("editor-save").disabled = true; });
  }

  set({ version, takes_more: canEdit }) {
    $("edit").hidden = !canEdit || !$("editor").hidden;
    if (this.version === version) return;
    this.version = version;
    this.load();
  }

  async load() {
    const found = await getJson(this.address.versions);
    if (found === null) { setTimeout(() => this.load(), 3000); return; }
    this.versions = found;
    const option = (one) => h("option", { value: one.version }, `${one.version}`);
    put($("version"), [...found].reverse().map(option));
    put($("against"), h("option", { value: "" }, "nothing"), [...found].reverse().map(option));
    for (const id of ["version", "against"]) $(id).parentElement.hidden = found.length < 2;
    this.show();
  }

  chosen() { return this.versions.find((one) => String(one.version) === $("version").value); }

  show() {
    const [one, other] = [this.chosen(), this.versions.find((v) => String(v.version) === $("against").value)];
    if (!one) return;
    put($("version-note"), one.version === 1 ? "as registered " : "made ", when(one.created_at), one.actor ? ` by ${one.actor}` : "", `; ${one.n_trials} ${one.n_trials === 1 ? "trial" : "trials"}`);
    if (other) put($("yaml"), paintDiff(other.definition, one.definition));
    else paintYaml($("yaml"), one.definition);
  }

  edit() {
    const latest = this.versions.at(-1);
    if (!latest) return;
    this.base = latest.definition;
    this.edited = latest.version;
    $("editor-text").value = this.base;
    $("editor-text").rows = Math.min(40, this.base.split("\n").length + 2);
    put($("editor-told"));
    $("editor-save").disabled = true;
    $("editor").hidden = false;
    $("edit").hidden = true;
    $("editor-text").focus();
  }

  leave() {
    $("editor").hidden = true;
    $("edit").hidden = false;
    $("edit").focus();
  }

  async check() {
    const text = $("editor-text").value;
    const { answer, error } = await send(`${this.address.control}/preview`, { definition: text });
    const told = (tone, sign, words) => h("p", { class: "banner", data: { tone } }, icon(sign), h("span", {}, words));
    if (error) { put($("editor-told"), told("bad", "failed", error)); return; }
    const { problems, warnings, changes, n_kept: kept, n_lost: lost } = answer;
    put($("editor-told"),
      problems.map((words) => told("bad", "failed", words)),
      warnings.map((words) => told("warn", "crashed", words)),
      problems.length || changes.length ? null : told("quiet", "info", "Nothing changes."),
      changes.length ? h("ul", { class: "changes" }, changes.map((words) => h("li", {}, words))) : null,
      changes.length && lost ? told("warn", "info", `${lost} of ${kept + lost} trials so far are not of the new space: they are kept, and teach the search nothing more.`) : null,
      h("pre", { class: "code" }, paintDiff(this.base, text)));
    $("editor-save").disabled = problems.length > 0 || changes.length === 0 || $("editor-text").value !== text;
    $("editor-save").textContent = `Save version ${this.versions.length + 1}`;
  }

  async save() {
    $("editor-save").disabled = true;
    const { error } = await send(`${this.address.control}/edit`, { definition: $("editor-text").value, version: this.edited });
    if (error) { put($("editor-told"), h("p", { class: "banner", data: { tone: "bad" } }, icon("failed"), h("span", {}, error))); return; }
    $("editor").hidden = true;
    await this.onSaved();
  }
}
