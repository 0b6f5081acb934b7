// The list of an entity's projects.

import { h, icon, pageData, put } from "./dom.js";
import { keepTimes, setNow, when } from "./format.js";
import { live } from "./live.js";

const data = pageData();
const root = document.getElementById("projects");

const count = (n, live, word) => h("span", {}, n.toLocaleString(), live ? h("span", { class: "dim" }, ` · ${live} ${word}`) : null);

function draw({ projects, total, entity }) {
  if (projects.length === 0) {
    put(root, h("div", { class: "empty" }, icon("chart"), h("h3", {}, "No projects yet"),
      h("p", {}, "Create a sweep and its project appears here: ", h("code", {}, `sweep create DEFINITION --entity ${entity}`))));
    return;
  }
  put(root,
    h("div", { class: "scroll" }, h("table", { class: "table" },
      h("thead", {}, h("tr", {}, ["Project", "Sweeps", "Runs", "Last change", "Made"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, projects.map((one) => h("tr", {},
        h("td", {}, h("a", { href: one.url, class: "strong" }, one.name), one.description ? h("span", { class: "dim" }, `  ${one.description}`) : null),
        h("td", {}, count(one.n_sweeps, one.n_live_sweeps, "open")),
        h("td", {}, count(one.n_runs, one.n_running, "running")),
        h("td", {}, when(one.touched_at ?? one.created)),
        h("td", {}, when(one.created)),
      ))))),
    projects.length < total ? h("div", { class: "more" }, `Showing ${projects.length} of ${total} projects`) : null);
}

setNow(data.now);
draw(data);
keepTimes();
live({ feed: data.address.feed, data: data.address.data, stamp: data.stamp, onData: draw });
