// The artifacts that a run logged and used, in its page's overview.

import { h, put } from "./dom.js";
import { bytes } from "./format.js";

const row = (one) => h("tr", {},
  h("td", { class: "clip" }, h("a", { href: one.url }, one.name), one.aliases.map((alias) => [" ", h("span", { class: "state pill" }, alias)])),
  h("td", { class: "dim" }, one.type),
  h("td", { class: "right" }, one.n_files),
  h("td", { class: "right" }, bytes(one.size)));

/** Draw the versions that a run logged and those that it used. */
export function runArtifacts({ artifacts: { logged, used } }) {
  const card = document.getElementById("artifacts-card");
  card.hidden = logged.length + used.length === 0;
  const groups = [["Logged", logged], ["Used", used]].filter(([, list]) => list.length > 0);
  put(document.getElementById("artifacts"), h("div", { class: "scroll flush" }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, [["Name"], ["Type"], ["Files", "right"], ["Size", "right"]].map(([text, cls]) => h("th", { scope: "col", class: cls }, text)))),
    groups.map(([title, list]) => h("tbody", {}, h("tr", { class: "group" }, h("th", { scope: "rowgroup", colspan: 4 }, `${title} (${list.length})`)), list.map(row))))));
}
