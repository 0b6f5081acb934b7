// The form that puts a configuration of a person's own into a sweep.

import { h, icon, put } from "./dom.js";
import { send } from "./shared.js";

const $ = (id) => document.getElementById(id);
//: Words that YAML takes for something else than text.
const TAKEN = /^(true|false|null|yes|no|on|off|y|n|nan|inf)$/i;

/** Return a value as people type it: plain words bare, everything else as JSON. */
export function textOf(value) {
  const isWord = typeof value === "string" && /^[A-Za-z_]\w*$/.test(value) && !TAKEN.test(value);
  return isWord ? value : JSON.stringify(value);
}

/** Return a function that opens the form on a space's fields, with the values of a run. */
export function enqueueForm(address) {
  const told = (tone, sign, ...content) => h("p", { class: "banner", data: { tone } }, icon(sign), h("span", {}, content));
  let inputs = [];

  async function enqueue() {
    $("enqueue-send").disabled = true;
    const filled = inputs.filter(({ input }) => input.value.trim() !== "");
    const { answer, error } = await send(address, { name: $("enqueue-name").value, values: Object.fromEntries(filled.map(({ name, input }) => [name, input.value])) });
    put($("enqueue-told"), error ? told("bad", "failed", error) : [
      answer.warnings.map((words) => told("warn", "crashed", words)),
      told("good", "finished", h("a", { href: answer.url }, answer.run), " waits: the next free agent takes it."),
    ]);
    $("enqueue-send").disabled = false;
  }

  $("enqueue-send").addEventListener("click", enqueue);
  $("enqueue").querySelector("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.tagName === "INPUT") { event.preventDefault(); enqueue(); }
  });

  return (fields, run) => {
    put($("enqueue-told"));
    $("enqueue-name").value = "";
    $("enqueue-from").textContent = run ? `These are the values of ${run.title}; change what you like.` : "Nothing has run yet: these are the middle values.";
    inputs = fields.map((field, i) => {
      const value = run && field.name in run.config ? run.config[field.name] : run ? undefined : field.value;
      const input = h("input", { class: "field", name: field.name, value: value === undefined ? "" : textOf(value), list: field.choices.length ? `choices-${i}` : null, autocomplete: "off", spellcheck: "false", "aria-describedby": `allowed-${i}` });
      return { ...field, input };
    });
    put($("enqueue-fields"), inputs.map(({ name, allowed, choices, input }, i) => h("label", { class: "entry" },
      h("span", { class: "mono" }, name), input,
      choices.length ? h("datalist", { id: `choices-${i}` }, choices.map((one) => h("option", { value: textOf(one) }))) : null,
      h("span", { class: "dim", id: `allowed-${i}` }, allowed))));
    $("enqueue").showModal();
    inputs[0]?.input.focus();
  };
}
