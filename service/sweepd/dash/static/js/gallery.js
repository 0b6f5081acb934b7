// Images with their captions, masks and boxes; one of them large on a click.

import { classColor } from "./color.js";
import { h, icon, put, s } from "./dom.js";
import { getFile } from "./loosejson.js";
import { number } from "./format.js";

const MANY = 12;  // images shown before the rest is asked for

/** Return the images of a step as figures. */
export function gallery(items, key) {
  const root = h("div", { class: "shots" });
  const hidden = new Set();  // layers that are switched off: "masks pred", "boxes truth"
  const layers = layersOf(items);
  const show = (n) => put(root, items.slice(0, n).map((one, i) => shot(one, i, items, key, hidden)),
    n < items.length ? h("button", { class: "btn small", type: "button", onclick: () => show(items.length) }, `Show all ${items.length}`) : null);
  show(MANY);
  const bar = layers.length ? h("div", { class: "chips layers", role: "group", "aria-label": "Layers" }, layers.map((name) => h("button", {
    class: "btn small", type: "button", "aria-pressed": "true", onclick: (event) => {
      if (hidden.has(name)) hidden.delete(name); else hidden.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(name)));
      for (const layer of root.querySelectorAll("[data-layer]")) layer.toggleAttribute("hidden", hidden.has(layer.dataset.layer));
    },
  }, name))) : null;
  return [bar, root];
}

const layersOf = (items) => [...new Set(items.flatMap((one) => [...(one.masks ?? []).map((m) => `mask ${m.name}`), ...(one.boxes ?? []).map((b) => `boxes ${b.name}`)]))];

function shot(one, i, items, key, hidden) {
  const words = one.caption ?? `${key}${items.length > 1 ? `, ${i + 1} of ${items.length}` : ""}`;
  if (!one.link) return h("figure", {}, h("p", { class: "missing" }, icon("pending"), "The file has not arrived yet."), h("figcaption", {}, one.caption));
  const open = h("button", { class: "shot", type: "button", "aria-label": `Enlarge: ${words}`, onclick: () => enlarge(items, i, key, hidden) }, picture(one, words, hidden));
  return h("figure", {}, open, one.caption ? h("figcaption", {}, one.caption) : null, legend(one));
}

/** Return an image under its layers. */
function picture(one, words, hidden) {
  const img = h("img", { src: one.link, alt: words, loading: "lazy", width: one.width, height: one.height });
  const box = h("span", { class: one.width && one.width < 200 ? "picture small" : "picture" }, img);
  img.addEventListener("error", () => put(box, h("span", { class: "missing" }, "This image cannot be shown.")));
  for (const layer of one.masks ?? []) if (layer.link) box.append(mask(layer, hidden));
  for (const layer of one.boxes ?? []) if (layer.link) box.append(boxes(layer, img, hidden));
  return box;
}

/** A mask names a class by the grey of each pixel; it is drawn in the classes' colours. */
function mask(layer, hidden) {
  const name = `mask ${layer.name}`;
  const canvas = h("canvas", { "aria-hidden": "true", hidden: hidden.has(name), data: { layer: name } });
  const image = new Image();
  image.addEventListener("load", () => {
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const kind = pixels.data[i];
      const [r, g, b] = classColor(kind);
      pixels.data.set([r, g, b, kind === 0 ? 0 : 130], i);
    }
    pen.putImageData(pixels, 0, 0);
  });
  image.src = layer.link;
  return canvas;
}

function boxes(layer, img, hidden) {
  const name = `boxes ${layer.name}`;
  const svg = s("svg", { class: "boxes", preserveAspectRatio: "none", hidden: hidden.has(name), data: { layer: name } });
  const draw = async () => {
    const found = await getFile(layer.link);
    const [width, height] = [img.naturalWidth || 1, img.naturalHeight || 1];
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const list = Array.isArray(found?.box_data) ? found.box_data.slice(0, 500) : [];
    put(svg, list.map((box) => boxShape(box, found.class_labels ?? {}, width, height)));
  };
  if (img.complete) draw(); else img.addEventListener("load", draw);
  return svg;
}

function boxShape(box, labels, width, height) {
  const place = box.position ?? {};
  const [sx, sy] = box.domain === "pixel" ? [1, 1] : [width, height];
  const [x0, y0, x1, y1] = Array.isArray(place.middle)
    ? [place.middle[0] - place.width / 2, place.middle[1] - place.height / 2, place.middle[0] + place.width / 2, place.middle[1] + place.height / 2]
    : [place.minX, place.minY, place.maxX, place.maxY];
  if (![x0, y0, x1, y1].every(Number.isFinite)) return null;
  const words = [box.box_caption ?? labels[box.class_id] ?? box.class_id, ...Object.entries(box.scores ?? {}).map(([name, score]) => `${name} ${number(score)}`)].filter((one) => one !== undefined && one !== "").join(" · ");
  const color = `rgb(${classColor(box.class_id ?? 0).join(" ")})`;
  return s("rect", { x: x0 * sx, y: y0 * sy, width: Math.max(0, (x1 - x0) * sx), height: Math.max(0, (y1 - y0) * sy), stroke: color }, s("title", {}, words));
}

/** Return which colour is which class, for the masks that say so. */
function legend(one) {
  const names = new Map();
  for (const layer of one.masks ?? []) for (const [number_, label] of Object.entries(layer.labels ?? {})) if (number_ !== "0") names.set(number_, label);
  if (!names.size) return null;
  return h("p", { class: "classes" }, [...names].slice(0, 24).map(([number_, label]) => h("span", {}, h("i", { class: "dot", style: { background: `rgb(${classColor(Number(number_)).join(" ")})` } }), label)));
}

/** Show an image in the whole window; the arrow keys go through the others. */
function enlarge(items, start, key, hidden) {
  let at = start;
  const body = h("div");
  const dialog = h("dialog", { class: "viewer", "aria-label": key });
  const show = () => {
    const one = items[at];
    put(body, one.link ? picture(one, one.caption ?? key, hidden) : null);
    put(words, `${key} · ${at + 1} of ${items.length}${one.caption ? ` · ${one.caption}` : ""}`);
    link.hidden = !one.link;
    if (one.link) { link.href = one.link; link.download = one.path.split("/").pop(); }
  };
  const go = (by) => { at = (at + by + items.length) % items.length; show(); };
  const words = h("p", { class: "grow" });
  const link = h("a", { class: "btn small" }, icon("download"), "Download");
  dialog.append(body, h("div", { class: "foot" },
    items.length > 1 ? h("button", { class: "btn small", type: "button", "aria-label": "the image before", onclick: () => go(-1) }, "‹") : null,
    items.length > 1 ? h("button", { class: "btn small", type: "button", "aria-label": "the next image", onclick: () => go(1) }, "›") : null,
    words, link, h("button", { class: "btn small", type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.addEventListener("keydown", (event) => { const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key]; if (by) { event.preventDefault(); go(by); } });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  show();
  dialog.showModal();
}
