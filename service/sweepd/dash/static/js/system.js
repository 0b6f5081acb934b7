// What the client's system metrics are called, and the order in which they are of interest.

const TITLES = [
  [/^gpu\.(\d+)\.gpu$/, "GPU $1: busy (%)"],
  [/^gpu\.(\d+)\.memoryAllocated$/, "GPU $1: memory in use (%)"],
  [/^gpu\.(\d+)\.memoryAllocatedBytes$/, "GPU $1: memory in use (bytes)"],
  [/^gpu\.(\d+)\.memory$/, "GPU $1: memory traffic (%)"],
  [/^gpu\.(\d+)\.temp$/, "GPU $1: temperature (°C)"],
  [/^gpu\.(\d+)\.powerWatts$/, "GPU $1: power (W)"],
  [/^gpu\.(\d+)\.powerPercent$/, "GPU $1: power (% of limit)"],
  [/^gpu\.process\.(\d+)\.(.*)$/, "GPU $1, this process: $2"],
  [/^cpu$/, "CPU of this process (%)"],
  [/^cpu\.(\d+)\.cpu_percent$/, "CPU core $1 (%)"],
  [/^proc\.memory\.rssMB$/, "Memory of this process (MB)"],
  [/^proc\.memory\.percent$/, "Memory of this process (%)"],
  [/^proc\.memory\.availableMB$/, "Memory available (MB)"],
  [/^proc\.cpu\.threads$/, "Threads of this process"],
  [/^memory_percent$/, "Memory of the machine (%)"],
  [/^disk\.(.+)\.usagePercent$/, "Disk $1: in use (%)"],
  [/^disk\.(.+)\.usageGB$/, "Disk $1: in use (GB)"],
  [/^disk\.(.+)\.in$/, "Disk $1: read (MB)"],
  [/^disk\.(.+)\.out$/, "Disk $1: written (MB)"],
  [/^network\.sent$/, "Network: sent (bytes)"],
  [/^network\.recv$/, "Network: received (bytes)"],
];

const ORDER = ["gpu", "cpu", "memory", "proc", "disk", "network"];

const bare = (key) => key.replace(/^system\./, "");

/** Return a metric's title; the client's own name for one that is not known. */
export function systemTitle(key) {
  const name = bare(key);
  const found = TITLES.find(([pattern]) => pattern.test(name));
  return found ? name.replace(...found) : name;
}

/** Return the keys by part: GPU, CPU, memory, process, disk, network, others. */
export function inOrder(keys) {
  const place = (key) => {
    const at = ORDER.findIndex((part) => bare(key).startsWith(part));
    return at < 0 ? ORDER.length : at;
  };
  return [...keys].sort((a, b) => place(a) - place(b) || a.localeCompare(b, undefined, { numeric: true }));
}
