// Which runs are pointed at, picked and brushed: one truth for every panel of a page.

/** Fires "hover", "pick" and "brush". */
export class Focus extends EventTarget {
  hovered = null;
  picked = new Set();
  brushed = null;  // ids that pass every brush, or null without brushes

  hover(id) {
    if (this.hovered === id) return;
    this.hovered = id;
    this.dispatchEvent(new Event("hover"));
  }

  pick(id, isOn) {
    if (isOn) this.picked.add(id); else this.picked.delete(id);
    this.dispatchEvent(new Event("pick"));
  }

  pickOnly(ids) {
    this.picked = new Set(ids);
    this.dispatchEvent(new Event("pick"));
  }

  brush(ids) {
    this.brushed = ids;
    this.dispatchEvent(new Event("brush"));
  }

  /** Return whether a run passes the brushes. */
  passes(id) { return this.brushed === null || this.brushed.has(id); }
}

/** Keep a page's view (sort, brushes, filter) in its address; browsers limit how often. */
export const view = {
  waiting: new Map(),
  get(key) { return new URLSearchParams(location.search).get(key); },
  set(key, text) {
    this.waiting.set(key, text);
    this.timer ??= setTimeout(() => this.write(), 200);
  },
  write() {
    this.timer = null;
    const params = new URLSearchParams(location.search);
    for (const [key, text] of this.waiting) {
      if (text === null || text === "") params.delete(key); else params.set(key, text);
    }
    this.waiting.clear();
    const query = params.toString();
    const address = `${location.pathname}${query ? `?${query}` : ""}${location.hash}`;
    if (address !== location.pathname + location.search + location.hash) history.replaceState(null, "", address);
  },
};
