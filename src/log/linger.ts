/**
 * How long a commit group waits for company before it is cut. Each group is one PUT, so waiting is what trades latency for
 * money. `fixedLinger` always waits as long as it is told; `AdaptiveLinger` waits only while load makes it pay.
 *
 * The adaptive rule. Let F be how long a group takes to become durable, and A how many commits arrive meanwhile, both
 * averaged over the last groups. While A is below 2 it does not wait: one appender, or many that all wait for the same
 * group, send nothing during a flush, so nobody would come. Otherwise commits arrive all the time; waiting for another F then
 * halves the PUTs and adds a third to the mean latency (from 1.5 F to 2 F). It waits in quarters of F and stops at the
 * first in which nobody came. It never waits where F is too short for a timer, nor where the queue alone makes a big group.
 */

import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";

/** What a pipeline asks before each group, and tells after it. */
export interface Linger {
  /** Resolves when the group should be cut; `queued` tells how many commits wait by then, `signal` ends the waiting. */
  wait(queued: () => number, signal: AbortSignal): Promise<void>;
  /** A group is cut and goes to the storage; so many commits are left. */
  groupStarted(queued: number): void;
  /** It is durable, nobody is answered yet, and so many commits wait by now. */
  groupStored(queued: number): void;
}

/** Waits `lingerMs` before each group, and with 0 not at all. */
export function fixedLinger(lingerMs: number): Linger {
  return {
    wait: async (_queued, signal) => {
      if (lingerMs > 0) await pause(lingerMs, signal);
    },
    groupStarted: () => {},
    groupStored: () => {},
  };
}

/** The longest wait, however long the storage takes. */
export const adaptiveLingerMsMax = 25;
/** Below this a flush is over before a timer could fire: a folder, or memory, where a PUT costs nothing either. */
const flushMsMin = 2;
/** Commits that must arrive during a flush, on average, before waiting pays. */
const arrivalsMin = 2;
/** So many commits share a PUT without any waiting: what is saved is little, and throughput comes first. */
const queuedMax = 1_024;
const slices = 4;
/** The weight of the newest group in the averages. */
const newest = 0.25;

export class AdaptiveLinger implements Linger {
  readonly #clock: Clock;
  readonly #pause: typeof pause;
  #startedMs = 0;
  #leftQueued = 0;
  #flushMs = 0;
  #arrivals = 0;

  constructor(clock: Clock, pauseFor: typeof pause = pause) {
    this.#clock = clock;
    this.#pause = pauseFor;
  }

  async wait(queued: () => number, signal: AbortSignal): Promise<void> {
    if (this.#arrivals < arrivalsMin || this.#flushMs < flushMsMin) return;
    const sliceMs = Math.min(this.#flushMs, adaptiveLingerMsMax) / slices;
    for (let slice = 0; slice < slices; slice += 1) {
      const before = queued();
      if (before >= queuedMax || signal.aborted) return;
      await this.#pause(sliceMs, signal);
      if (queued() <= before) return;
    }
  }

  groupStarted(queued: number): void {
    this.#startedMs = this.#clock.monotonic();
    this.#leftQueued = queued;
  }

  groupStored(queued: number): void {
    // Fewer than before where some were given up meanwhile.
    const arrived = Math.max(0, queued - this.#leftQueued);
    this.#flushMs += newest * (this.#clock.monotonic() - this.#startedMs - this.#flushMs);
    this.#arrivals += newest * (arrived - this.#arrivals);
  }
}
