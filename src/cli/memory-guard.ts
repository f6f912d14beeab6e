/**
 * Keeps what an import takes of JavaScript's memory low, however large the file is. Left alone, the collector lets the
 * garbage of a busy import grow to several times what is alive; collecting young garbage after each few megabytes, and all
 * of it where the process has grown large, costs a tenth of the time. What the storage engine caches is not in its power.
 */

import { edenGC } from "bun:jsc";

/** Young garbage is collected after so much work; what an event costs besides its text is `eventCost`. */
const workBetweenMax = 2.5 * 1024 * 1024;
const eventCost = 400;
/** From this size on all garbage is collected every second time, and beyond the next every time. */
const largeBytes = 240 * 1024 * 1024;
const tooLargeBytes = 320 * 1024 * 1024;

export class MemoryGuard {
  #work = 0;
  #collections = 0;

  /** Counts work that is done with. */
  record(events: number, characters: number): void {
    this.#work += events * eventCost + characters;
    if (this.#work < workBetweenMax) return;
    this.#work = 0;
    this.#collections += 1;
    const bytes = process.memoryUsage.rss();
    if (bytes > tooLargeBytes || (bytes > largeBytes && this.#collections % 2 === 0)) Bun.gc(true);
    else edenGC();
  }
}
