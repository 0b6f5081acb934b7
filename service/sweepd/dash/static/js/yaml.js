// Colours keys and comments of a YAML text.

import { h, put } from "./dom.js";

/** Show a definition with its keys and comments told apart. */
export function paintYaml(root, text) {
  put(root, text.split("\n").map((line, i, all) => {
    const end = i < all.length - 1 ? "\n" : "";
    const note = line.match(/^(\s*)(#.*)$/);
    if (note) return [note[1], h("span", { class: "yaml-note" }, note[2]), end];
    const key = line.match(/^(\s*(?:- )?)([^\s:#"'{[][^:#]*)(:(?:\s.*)?)$/);
    if (key) return [key[1], h("span", { class: "yaml-key" }, key[2]), key[3], end];
    return [line, end];
  }));
}
