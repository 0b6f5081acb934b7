// Why a trial was suggested, what was expected of it, and why it was stopped.

import { h, put, s } from "./dom.js";
import { number, tickTexts, when } from "./format.js";

const $ = (id) => document.getElementById(id);
const pair = (name, ...content) => [h("dt", {}, name), h("dd", {}, content)];
const WIDTH = 260;
const HEIGHT = 20;

/** Draw the card; it stays hidden for a run that is no trial. */
export function drawDecision({ decision, run }) {
  $("decision-card").hidden = !decision;
  if (!decision) return;
  const text = JSON.stringify(decision);
  if (drawDecision.text === text) return;
  drawDecision.text = text;
  const { metric, goal } = decision;
  $("decision-note").textContent = metric ? `${metric}, ${goal === "maximize" ? "higher" : "lower"} is better` : "";
  put($("decision"), h("dl", { class: "pairs" },
    pair("Suggested", decision.words),
    decision.mean === null ? null : pair("Expected", expected(decision), Object.keys(decision.weights).length ? h("div", { class: "dim" }, "of the weighed metrics, 0 where each is as good as its best so far") : null),
    decision.mean === null || decision.value === null ? null : pair("Came out", number(decision.value), h("span", { class: "dim" }, ` ${verdict(decision)}`)),
    decision.log_ei === null ? null : pair("Acquisition", h("span", { title: "in standard deviations of the results; the higher, the more was hoped for" }, `log EI ${number(decision.log_ei, 3)}, the logarithm of the expected improvement`)),
    decision.p_feasible === null ? null : pair("Chance not to fail", `${Math.round(100 * decision.p_feasible)} %`),
    decision.nearest.length === 0 ? null : pair("Nearest trials", h("ul", { class: "plain" }, decision.nearest.map((one) =>
      h("li", { title: "0 is the same configuration; far below 1 the model expects much the same of both" }, h("a", { href: one.url }, one.title), ` ${reached(one)}`, h("span", { class: "dim" }, `, distance ${number(one.distance, 2)}`))))),
    decision.basis_event === null ? null : pair("Computed from", `event ${decision.basis_event}`, decision.basis_at ? [", ", when(decision.basis_at)] : ""),
    pair("Definition", h("a", { href: `${run.sweep_url}#definition` }, `version ${decision.version}`), decision.n_versions > 1 ? ` of ${decision.n_versions}` : ""),
    decision.stop ? pair("Stopped", stopped(decision)) : null));
}

function reached({ value, values, is_feasible }) {
  if (value !== null) return number(value);
  const all = Object.entries(values).map(([name, of]) => `${name} ${number(of)}`);
  return all.join(", ") || (is_feasible ? "no value" : "failed");
}

function expected({ mean, low, high, value }) {
  if (low === null || high === null) return number(mean);
  const [below, middle, above] = tickTexts([low, mean, high]);
  const words = `${middle}; the model's 90 % interval is ${below} to ${above}`;
  const all = [low, high, ...(value === null ? [] : [value])];
  const [from, to] = [Math.min(...all), Math.max(...all)];
  const x = (v) => 6 + (to > from ? (v - from) / (to - from) : 0.5) * (WIDTH - 12);
  return [words, s("svg", { class: "expected", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words },
    s("line", { class: "range", x1: x(low), x2: x(high), y1: HEIGHT / 2, y2: HEIGHT / 2 }),
    s("line", { class: "mean", x1: x(mean), x2: x(mean), y1: 3, y2: HEIGHT - 3 }),
    value === null ? null : s("circle", { class: "outcome", cx: x(value), cy: HEIGHT / 2, r: 4.5 }))];
}

function verdict({ low, high, value, goal }) {
  if (low === null || high === null) return "";
  if (value >= low && value <= high) return "within the interval";
  return (value < low) === (goal === "minimize") ? "better than expected" : "worse than expected";
}

function stopped({ stop, metric }) {
  const numbers = [
    stop.band === null ? null : `after ${stop.band} values`,
    stop.value === null ? null : `${metric ?? "it"} was ${number(stop.value)}`,
    stop.threshold === null ? null : `the threshold ${number(stop.threshold)}`,
  ].filter(Boolean);
  return [`By ${stop.rule}`, numbers.length ? `: ${numbers.join(", ")}` : "", ", ", when(stop.at), stop.words ? h("div", { class: "dim" }, stop.words) : null];
}
