// Keeps a page fresh: the server says that something changed, the page fetches its data again.
// When the server is gone the last data stay, with their age; the page looks for it until it is back.

import { setNow } from "./format.js";

const SLOWEST = 15000;  // ms between two looks for a server that is gone
const SILENCE = 40000;  // ms without a word, of which the server sends one every 15 s, that mean it is gone
const PATIENCE = 60000;  // ms for an answer

/**
 * Watch a page's data.
 *
 * @param {object} options
 * @param {string} options.feed address of the server-sent events
 * @param {string} options.data address of the data
 * @param {string} options.stamp the stamp of the data that the page came with
 * @param {(data: object) => void} options.onData called with each new answer
 * @returns {() => void} a function that fetches at once
 */
export function live({ feed, data, stamp, onData }) {
  const badge = document.getElementById("live");
  let freshAt = Date.now();
  let isLive = false;
  let source = null;
  let wait = 1000;
  let isFetching = false;
  let isDirty = false;
  let timer = null;
  let retry = null;
  let heardAt = Date.now();

  const show = () => {
    const age = Math.round((Date.now() - freshAt) / 1000);
    badge.dataset.state = isLive ? "live" : "stale";
    badge.textContent = isLive ? "Live" : `No answer from the server · data of ${age < 60 ? `${age} s` : `${Math.floor(age / 60)} min`} ago`;
    badge.title = `fetched ${new Date(freshAt).toLocaleTimeString()}`;
  };

  const fetchNow = async () => {
    if (isFetching) { isDirty = true; return; }
    isFetching = true;
    isDirty = false;
    const began = performance.now();
    try {
      const answer = await fetch(data, { credentials: "same-origin", headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = await answer.json();
      freshAt = Date.now();
      stamp = fresh.stamp;
      setNow(fresh.now);
      onData(fresh);
    } catch (error) {
      if (error instanceof TypeError || error.name === "TimeoutError") { isLive = false; } else console.warn("sweepd:", error.message);
    } finally {
      isFetching = false;
      show();
      const rest = Math.max(700, 4 * (performance.now() - began));
      if (isDirty) { isDirty = false; schedule(rest); }
    }
  };

  const schedule = (delay = 50) => {
    if (timer) return;
    timer = setTimeout(() => { timer = null; fetchNow(); }, delay);
  };

  const connect = () => {
    clearTimeout(retry);
    source?.close();
    source = new EventSource(feed);
    heardAt = Date.now();
    for (const word of ["open", "change", "problem", "alive"]) source.addEventListener(word, () => { heardAt = Date.now(); });
    source.addEventListener("open", () => { isLive = true; wait = 1000; show(); });
    source.addEventListener("change", (event) => { if (event.data !== stamp) schedule(); else freshAt = Date.now(); });
    source.addEventListener("problem", (event) => {
      const banner = document.getElementById("problem");
      banner.textContent = event.data;
      banner.hidden = event.data === "";
    });
    source.addEventListener("over", () => { source.close(); location.reload(); });  // signed out, or shut out
    source.addEventListener("error", () => {
      source.close();
      isLive = false;
      show();
      retry = setTimeout(connect, wait);
      wait = Math.min(SLOWEST, wait * 1.6);
    });
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { clearTimeout(retry); source?.close(); source = null; }
    else if (!source) connect();
  });
  window.addEventListener("pagehide", () => source?.close());
  setInterval(() => {
    if (source?.readyState === EventSource.OPEN && Date.now() - heardAt > SILENCE) { isLive = false; connect(); }
    show();
  }, 1000);
  connect();
  return fetchNow;
}

