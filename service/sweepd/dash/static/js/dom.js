// Builds elements. Text goes in as text nodes only: names, configs and logs are hostile.

const SVG = "http://www.w3.org/2000/svg";

/** Set attributes, listeners (on…), `class`, `style` (an object) and `data` (an object). */
function dress(element, props) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else if (key === "data") Object.assign(element.dataset, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  return element;
}

function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Return an HTML element. */
export const h = (tag, props, ...children) => fill(dress(document.createElement(tag), props), children);

/** Return an SVG element. */
export const s = (tag, props, ...children) => fill(dress(document.createElementNS(SVG, tag), props), children);

/** Replace what is in `element`. */
export function put(element, ...children) {
  element.replaceChildren();
  return fill(element, children);
}

const sprite = document.documentElement.dataset.icons;

/** Return an icon of the sprite. */
export const icon = (name, props) => s("svg", { "aria-hidden": "true", ...props }, s("use", { href: `${sprite}#${name}` }));

/** Return a run's or a sweep's state as an icon and a word. */
export function stateBadge(state, { pill = false } = {}) {
  const spins = state.icon === "running";
  return h(
    "span",
    { class: pill ? "state pill" : "state", data: { tone: state.tone }, title: state.why ?? null },
    icon(state.icon, { class: spins ? "spin" : null }),
    state.word,
  );
}

/** Return the data that the server put into the page. */
export const pageData = () => JSON.parse(document.getElementById("data").textContent);

/** Say something at the foot of the window for a few seconds. */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const box = h("div", { class: "toast", role: "status" }, text);
  document.body.append(box);
  setTimeout(() => box.remove(), 5000);
}

/** Copy text, and say so on the button. */
export async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "visually-hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const old = button.textContent;
  button.lastChild.textContent = "Copied";
  setTimeout(() => { button.lastChild.textContent = old; }, 1500);
}

/** Place a tooltip beside a point of its (positioned) parent, inside the parent's width. */
export function placeTip(tip, x, y) {
  const width = tip.parentElement.clientWidth;
  const left = x + 16 + tip.offsetWidth > width ? x - 16 - tip.offsetWidth : x + 16;
  tip.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, y - 12)}px)`;
}

/** Call `draw` now and whenever the width of `element` changes. */
export function onWidth(element, draw) {
  let last = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== last) { last = width; draw(width); }
  }).observe(element);
}

/**
 * Make a row of links act as tabs over the elements that they name; the address's hash keeps it. Being links,
 * they count even when they are clicked before this runs.
 */
export function tabs(bar, onShow = () => {}) {
  const links = [...bar.querySelectorAll("[role=tab]")];
  const show = (name) => {
    for (const link of links) {
      const isOn = link.dataset.tab === name;
      link.setAttribute("aria-selected", String(isOn));
      link.tabIndex = isOn ? 0 : -1;
      document.getElementById(`tab-${link.dataset.tab}`).hidden = !isOn;
    }
    onShow(name);
  };
  const fromHash = () => {
    const wanted = location.hash.slice(1);
    show(links.some((b) => b.dataset.tab === wanted) ? wanted : links[0].dataset.tab);
  };
  bar.addEventListener("click", (event) => {
    const link = event.target.closest("[role=tab]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", `${location.pathname}${location.search}#${link.dataset.tab}`);
    show(link.dataset.tab);
  });
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, " ": 0 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = links[(links.indexOf(document.activeElement) + step + links.length) % links.length];
    next.focus();
    next.click();
  });
  window.addEventListener("hashchange", fromHash);
  fromHash();
}
