// Small pieces that several pages have.

import { h, put, toast } from "./dom.js";

/** Return a sweep's progress bar. */
export function progressBar(parts) {
  const words = parts.map((part) => `${part.count} ${part.word}`).join(", ");
  return h("div", { class: "progress", role: "img", "aria-label": words || "nothing done yet", title: words || null },
    parts.map((part) => h("i", { data: { tone: part.tone }, style: { flex: `${part.count} 0 0`, "min-width": part.count ? "3px" : "0" } })));
}

/** Filter as somebody types; "/" goes to the field, Escape empties it. */
export function watchFilter(field, onText) {
  field.addEventListener("input", () => onText(field.value));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { field.value = ""; onText(""); field.blur(); }
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || field.offsetParent === null) return;
    event.preventDefault();
    field.focus();
  });
}

/** Show the button that compares the picked runs; `c` does the same. */
export function watchPicks(link, focus, page) {
  const show = () => {
    const ids = [...focus.picked];
    link.hidden = ids.length < 2;
    link.textContent = `Compare ${ids.length} runs`;
    link.href = `${page}?runs=${ids.map(encodeURIComponent).join(",")}`;
  };
  focus.addEventListener("pick", show);
  show();
  document.addEventListener("keydown", (event) => {
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "") && document.activeElement.type !== "checkbox";
    if (event.key === "c" && !link.hidden && !isTyping && !event.ctrlKey && !event.metaKey) link.click();
  });
}

/** Ask the server to do something; say so if it will not. */
export async function act(address) {
  try {
    const answer = await fetch(address, { method: "POST", credentials: "same-origin" });
    if (answer.ok) return true;
    const { error } = await answer.json().catch(() => ({}));
    toast(error ?? `The server answered ${answer.status}.`);
  } catch {
    toast("The server does not answer.");
  }
  return false;
}

/** Send a form's data as JSON; return `{answer}`, or `{error}` in words. */
export async function send(address, body) {
  try {
    const answer = await fetch(address, { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json().catch(() => ({}));
    return answer.ok ? { answer: found } : { error: found.error ?? `The server answered ${answer.status}.` };
  } catch {
    return { error: "The server does not answer." };
  }
}

/** Show sentences at the top of a page: `[{tone, text, icon}]`. */
export function banners(root, items, icon) {
  root.hidden = items.length === 0;
  put(root, items.map((item) => h("p", { class: "banner", data: { tone: item.tone } }, icon(item.icon), h("span", {}, item.text, item.more ? [" ", h("a", { href: item.more.href }, item.more.text)] : null))));
}

/** Make a group of buttons choose one of several. */
export function choose(group, attribute, onChoice) {
  group.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    for (const one of group.querySelectorAll("button")) one.setAttribute("aria-pressed", String(one === button));
    onChoice(button.dataset[attribute]);
  });
}

/** Make a button stay pressed or not. */
export function toggle(button, onChange) {
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    onChange(isOn);
  });
}
