// The media of a run: a panel per logged key, with a slider over the steps at which it was logged.
// A panel fetches when it comes into sight, and again when the run has logged more.

import { figurePanel } from "./figure.js";
import { dataTable } from "./datatable.js";
import { h, icon, put } from "./dom.js";
import { bytes, number } from "./format.js";
import { gallery } from "./gallery.js";
import { graphTable } from "./modelgraph.js";
import { getJson, sectionsOf, withKeys } from "./panels.js";

const KINDS = {
  image: ["Images", gallery],
  video: ["Videos", (items) => items.map(video)],
  audio: ["Sounds", (items) => items.map(audio)],
  html: ["Pages", (items) => items.map(page)],
  table: ["Tables", (items) => items.map((one) => dataTable(one))],
  figure: ["Figures", (items) => items.map((one) => figurePanel(one))],
  object3d: ["3D objects", (items) => items.map((one) => download(one, "Point clouds and scenes are not drawn here. The file opens in viewers such as MeshLab or CloudCompare."))],
  molecule: ["Molecules", (items) => items.map((one) => download(one, "Molecules are not drawn here. The file opens in viewers such as PyMOL, Mol* or VMD."))],
  graph: ["Model graphs", (items) => items.map((one) => graphTable(one))],
};

const WIDE = new Set(["table", "graph", "html"]);

const WAIT = 120;  // ms that a slider rests before its step is fetched

/** Return what a caption and a missing file look like around `content`. */
function framed(one, content) {
  const body = one.link ? content : h("p", { class: "missing" }, icon("pending"), "The file has not arrived yet.");
  return h("figure", {}, body, one.caption ? h("figcaption", {}, one.caption) : null);
}

function video(one) {
  if (one.type === "image/gif") return framed(one, h("img", { class: one.width < 200 ? "small" : null, src: one.link, alt: one.caption ?? "animation", loading: "lazy" }));
  return framed(one, one.link && h("video", { src: one.link, controls: true, preload: "metadata", "aria-label": one.caption ?? "video" }));
}

const audio = (one) => framed(one, one.link && h("audio", { src: one.link, controls: true, preload: "none", "aria-label": one.caption ?? "sound" }));

/** A page of a user's: it runs in an origin of its own, where it can reach nothing of ours. */
function page(one) {
  if (!one.link) return framed(one, null);
  const address = `${one.link}&view=page`;
  const frame = h("iframe", { sandbox: "allow-scripts", src: address, loading: "lazy", referrerpolicy: "no-referrer", title: one.caption ?? "a page that the run logged" });
  return framed(one, [frame, h("p", { class: "links" }, h("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, "Open alone"), h("a", { href: one.link, download: nameOf(one) }, "Download"))]);
}

const nameOf = (one) => one.path.split("/").pop();

function download(one, words) {
  return framed(one, h("div", { class: "fetch" }, h("p", {}, words), h("a", { class: "btn small", href: one.link, download: nameOf(one) }, icon("download"), "Download"), h("p", { class: "faint name", title: one.path }, `${nameOf(one)}${one.size === undefined ? "" : ` · ${bytes(one.size)}`}`)));
}

/** The wall of media panels. `address` answers with a key's steps and the media of one of them. */
export class MediaWall {
  constructor(root, address) {
    this.root = root;
    this.address = address;
    this.panels = new Map();
    this.isTogether = false;
    this.seer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.panels.get(target.dataset.id)?.sight(isIntersecting);
    }, { rootMargin: "240px" });
  }

  /** Show these keys, `{kind: [key]}`; panels that stay are kept and look for new steps. */
  keys(byKind) {
    const text = JSON.stringify(byKind);
    if (text === this.text) { for (const panel of this.panels.values()) panel.refresh(); return; }
    this.text = text;
    const kept = new Map();
    const parts = Object.entries(KINDS).filter(([kind]) => byKind[kind]?.length).map(([kind, [title]]) => sectionsOf(byKind[kind], title).map(([section, some]) => [
      h("div", { class: "section" }, h("h2", {}, section), h("span", { class: "faint num" }, some.length)),
      h("div", { class: WIDE.has(kind) ? "panels wide" : "panels" }, some.map((key) => {
        const id = `${kind} ${key}`;
        const panel = this.panels.get(id) ?? new MediaPanel(this, kind, key, id);
        kept.set(id, panel);
        return panel.card;
      })),
    ]));
    for (const [id, panel] of this.panels) if (!kept.has(id)) this.seer.unobserve(panel.card);
    for (const [id, panel] of kept) if (!this.panels.has(id)) this.seer.observe(panel.card);
    this.panels = kept;
    put(this.root, kept.size ? parts : h("div", { class: "card empty" }, icon("file"), h("h3", {}, "No media yet"), h("p", {}, "Images, tables, videos and whatever else the run gives to ", h("code", {}, "wandb.log"), " as media appear here.")));
    for (const panel of kept.values()) panel.refresh();
  }

  /** Move the other sliders to the same step, if they move together. */
  moved(from, step) {
    if (!this.isTogether) return;
    for (const panel of this.panels.values()) if (panel !== from) panel.follow(step);
  }
}

class MediaPanel {
  constructor(wall, kind, key, id) {
    Object.assign(this, { wall, kind, key, steps: [], at: null, isSeen: false, isStale: true, isLast: true });
    this.place = h("div", { class: `media ${kind}`, "aria-live": "polite" }, h("p", { class: "empty faint" }, "Loading…"));
    this.note = h("span", { class: "now" });
    this.slider = h("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": `step of ${key}`, oninput: () => this.slide(Number(this.slider.value)) });
    this.bar = h("div", { class: "steps", hidden: true },
      h("button", { class: "btn small plain", type: "button", "aria-label": "the step before", onclick: () => this.slide(this.at - 1) }, "‹"), this.slider,
      h("button", { class: "btn small plain", type: "button", "aria-label": "the next step", onclick: () => this.slide(this.at + 1) }, "›"));
    this.card = h("section", { class: "card panel", data: { key, id, kind }, "aria-label": key }, h("header", {}, h("h2", { title: key }, key), this.note), this.place, this.bar);
  }

  sight(isSeen) {
    this.isSeen = isSeen;
    if (isSeen && this.isStale) this.load();
  }

  refresh() {
    this.isStale = true;
    if (this.isSeen) this.load();
  }

  /** Look which steps there are; a panel at the last one moves on with the run. */
  async load() {
    this.isStale = false;
    const found = await getJson(withKeys(this.wall.address, [this.key]));
    if (!found) { this.failed(() => this.load()); return; }
    const step = this.steps[this.at];
    this.steps = found.steps;
    this.n = found.n_steps;
    this.bar.hidden = this.steps.length < 2;
    this.slider.max = Math.max(0, this.steps.length - 1);
    if (this.isLast || !this.steps.includes(step)) {
      this.at = this.steps.length - 1;
      this.slider.value = this.at;
      this.say(found.step);
      this.draw(found);
    } else {
      this.at = this.steps.indexOf(step);
      this.slider.value = this.at;
      this.say(step);
    }
  }

  slide(at) {
    if (at < 0 || at >= this.steps.length || at === this.at) return;
    this.set(at);
    this.wall.moved(this, this.steps[at]);
  }

  /** Go to the last step that is not after `step`. */
  follow(step) {
    const later = this.steps.findIndex((one) => one > step);
    const at = later < 0 ? this.steps.length - 1 : Math.max(0, later - 1);
    if (at !== this.at && this.steps.length) this.set(at);
  }

  set(at) {
    this.at = at;
    this.isLast = at === this.steps.length - 1;
    this.slider.value = at;
    this.say(this.steps[at]);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(this.steps[at]), WAIT);
  }

  async fetch(step) {
    const found = await getJson(withKeys(this.wall.address, [this.key], { step }));
    if (this.steps[this.at] !== step) return;  // moved on meanwhile
    if (found) this.draw(found); else this.failed(() => this.fetch(step));
  }

  say(step) {
    const place = this.steps.length > 1 ? ` · ${this.at + 1} of ${this.steps.length}` : "";
    const thinned = this.n > this.steps.length ? ` (thinned from ${this.n})` : "";
    put(this.note, step === null ? "in the summary" : `step ${number(step)}${place}${thinned}`);
    this.slider.setAttribute("aria-valuetext", step === null ? "" : `step ${step}`);
  }

  draw({ items }) {
    const text = JSON.stringify(items);
    if (text === this.text) return;
    this.text = text;
    const kind = items[0]?.kind ?? this.kind;
    put(this.place, items.length ? KINDS[kind][1](items, this.key) : h("p", { class: "empty faint" }, "Nothing to show at this step."));
  }

  failed(again) {
    this.text = null;
    put(this.place, h("p", { class: "empty" }, "The server did not answer. ", h("button", { class: "btn small", type: "button", onclick: again }, "Try again")));
  }
}
