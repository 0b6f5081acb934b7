// One axis of the parallel coordinates: from a value to a place and back, and its brushes.

import { hash } from "./color.js";
import { number, tickTexts, value as text } from "./format.js";
import { linear, log } from "./scale.js";

/** Height kept under each axis for the runs that have no value there, pixels. */
export const NONE = 26;

/** An axis `{name, kind: linear|log|band, lo, hi, values, role, goal, clamp}` between two pixels. */
export class Axis {
  brushes = [];  // {lo, hi, none} in values (or band numbers); they are OR-ed
  isFlipped = false;

  constructor(spec) {
    this.adopt(spec);
    this.kind = spec.kind;
  }

  adopt(spec) {
    const { kind, keys: before } = this;
    Object.assign(this, spec);
    if (kind && this.canSwitch) this.kind = kind;
    this.keys = (spec.values ?? []).map((v) => JSON.stringify(v));
    if (before && this.kind === "band") this.follow(before);
  }

  /** Let brushes stay on the bands that they were drawn on, which may have new ones between them. */
  follow(before) {
    for (const brush of this.brushes) {
      const [lo, hi] = [brush.lo, brush.hi].map((band) => this.keys.indexOf(before[band]));
      if (lo >= 0 && hi >= 0) Object.assign(brush, { lo, hi });
    }
  }

  /** Whether the scale can be switched between linear and logarithmic. */
  get canSwitch() { return this.kind !== "band" && this.lo > 0; }

  lay(top, bottom) {
    this.top = top;
    this.bottom = bottom;
    this.none = bottom + NONE - 8;
    const [from, to] = this.isFlipped ? [top, bottom] : [bottom, top];
    if (this.kind === "band") this.scale = linear(0, Math.max(1, this.keys.length), from, to);
    else this.scale = (this.kind === "log" ? log : linear)(this.lo, this.hi, from, to);
  }

  /** Return what the brushes compare: a number, a band's number, or null. */
  unit(value) {
    if (value === undefined) return null;
    if (this.kind === "band") {
      const band = this.keys.indexOf(JSON.stringify(value));
      return band < 0 ? null : band;
    }
    const n = typeof value === "number" ? value : NaN;
    return Number.isFinite(n) && (this.kind !== "log" || n > 0) ? n : null;
  }

  /** Return a run's pixel; inside a band runs are spread by their id, so that lines stay apart. */
  at(value, id) {
    const unit = this.unit(value);
    if (unit === null) return this.none;
    if (this.kind === "band") return this.scale(unit + 0.5 + ((hash(id) % 1000) / 1000 - 0.5) * 0.56);
    return this.scale(Math.min(this.hi, Math.max(this.lo, unit)));
  }

  /** Return whether a value passes: any brush of this axis takes it, or there is none. */
  passes(value) {
    if (this.brushes.length === 0) return true;
    const unit = this.unit(value);
    return this.brushes.some((b) => (unit === null ? b.none : !b.onlyNone && unit >= b.lo && unit <= b.hi));
  }

  /** Return the brush that covers two pixels. */
  brushOf(p0, p1) {
    const [up, down] = [Math.min(p0, p1), Math.max(p0, p1)];
    const none = down > this.bottom + 8;
    const onlyNone = up > this.bottom + 4;
    const clip = (p) => Math.min(this.bottom, Math.max(this.top, p));
    let [lo, hi] = [this.scale.invert(clip(up)), this.scale.invert(clip(down))].sort((a, b) => a - b);
    if (this.kind === "band") {
      const most = Math.max(0, this.keys.length - 1);
      [lo, hi] = [Math.min(most, Math.floor(lo + 1e-9)), Math.max(0, Math.min(most, Math.ceil(hi - 1e-9) - 1))];
      if (hi < lo) hi = lo;
    } else {
      if (up <= this.top + 1) { if (this.isFlipped) lo = -Infinity; else hi = Infinity; }
      if (down >= this.bottom - 1) { if (this.isFlipped) hi = Infinity; else lo = -Infinity; }
    }
    return { lo, hi, none, onlyNone };
  }

  /** Return a brush's upper and lower pixel. */
  span(brush) {
    if (brush.onlyNone) return [this.bottom + 6, this.bottom + NONE];
    const clip = (v) => (Number.isFinite(v) ? v : v < 0 ? this.lo : this.hi);
    const ends = this.kind === "band" ? [brush.lo, brush.hi + 1] : [Math.max(this.lo, clip(brush.lo)), Math.min(this.hi, clip(brush.hi))];
    const [up, down] = ends.map((v) => this.scale(v)).sort((a, b) => a - b);
    return [up, brush.none ? this.bottom + NONE : down];
  }

  /** Return a brush in words. */
  words(brush) {
    const none = brush.none ? (brush.onlyNone ? "none" : " or none") : "";
    if (brush.onlyNone) return none;
    if (this.kind === "band") return this.values.slice(brush.lo, brush.hi + 1).map(text).join(", ") + none;
    if (!Number.isFinite(brush.lo) && !Number.isFinite(brush.hi)) return `any${none}`;
    if (!Number.isFinite(brush.lo)) return `≤ ${number(brush.hi)}${none}`;
    if (!Number.isFinite(brush.hi)) return `≥ ${number(brush.lo)}${none}`;
    return `${number(brush.lo)} – ${number(brush.hi)}${none}`;
  }

  /** Return `[{text, at}]` for the axis. */
  ticks() {
    if (this.kind === "band") {
      const room = Math.abs(this.scale(1) - this.scale(0));
      const every = Math.max(1, Math.ceil(14 / room));
      return this.values.map((v, i) => ({ text: text(v), at: this.scale(i + 0.5) })).filter((_, i) => i % every === 0);
    }
    const end = this.clamp ? this.scale(this.clamp === "low" ? this.lo : this.hi) : NaN;
    const ticks = this.scale.ticks(7).filter((v) => v >= this.lo && v <= this.hi && !(Math.abs(this.scale(v) - end) < 13));
    const texts = tickTexts(ticks);
    return ticks.map((v, i) => ({ text: texts[i], at: this.scale(v) }));
  }

  /** Return the brushes as text for the page's address, and read them back. */
  dump() {
    return this.brushes.map((b) => [Number.isFinite(b.lo) ? Number(b.lo.toPrecision(4)) : "", Number.isFinite(b.hi) ? Number(b.hi.toPrecision(4)) : "", b.onlyNone ? "o" : b.none ? "n" : ""].join("~"));
  }

  load(texts) {
    this.brushes = texts.map((one) => {
      const [lo, hi, flag] = one.split("~");
      return { lo: lo === "" || lo === undefined ? -Infinity : Number(lo), hi: hi === "" || hi === undefined ? Infinity : Number(hi), none: flag === "n" || flag === "o", onlyNone: flag === "o" };
    }).filter((b) => !Number.isNaN(b.lo) && !Number.isNaN(b.hi));
  }
}
