/**
 * Commits on their way to storage: those that wait, in their order, and the one group that is under way. It cuts groups and holds all
 * of them to their deadlines; what is late is told so, honestly, and of a group under way nobody knows. It writes nothing.
 */

import { StorageUnavailableError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import type { PreparedCommit } from "./commit.ts";
import { type SettledCommit, WaitingCommit } from "./waiting-commit.ts";

/** The most commits, events and encoded bytes in one group; a single commit may have as many events. */
export const groupCommitsMax = 2_048;
export const groupEventsMax = 10_000;
export const groupBytesMax: number = 8 * 1024 * 1024;
/** The most commits and encoded bytes that wait; beyond that an append is refused as `overloaded`. */
export const queueCommitsMax = 100_000;
export const queueBytesMax: number = 64 * 1024 * 1024;

export interface CommitQueueOptions {
  readonly clock: Clock;
  /** So long a caller waits. */
  readonly timeoutMs: number;
}

export class CommitQueue {
  readonly #options: CommitQueueOptions;
  #queue: WaitingCommit[] = [];
  #queuedBytes = 0;
  #inFlight: readonly WaitingCommit[] = [];
  #deadlineTimer: ReturnType<typeof setTimeout> | undefined;
  #stalled = false;

  constructor(options: CommitQueueOptions) {
    this.#options = options;
  }

  /** How many wait; those whose callers gave up meanwhile are among them. */
  get length(): number {
    return this.#queue.length;
  }

  /** A group is taking longer than callers wait; new commits are to be turned away until it settles. */
  get stalled(): boolean {
    return this.#stalled;
  }

  hasRoomFor({ bytes }: PreparedCommit): boolean {
    return this.#queue.length < queueCommitsMax && this.#queuedBytes + bytes <= queueBytesMax;
  }

  /** Queues the commit; settles as it does. */
  add(commit: PreparedCommit): Promise<SettledCommit> {
    return new Promise((resolve, reject) => {
      const deadlineMs = this.#options.clock.monotonic() + this.#options.timeoutMs;
      this.#queue.push(new WaitingCommit(commit, deadlineMs, { resolve, reject }));
      this.#queuedBytes += commit.bytes;
      this.#armDeadline();
    });
  }

  /** Takes the next group out of the queue: it is the one under way, until `groupSettled`. Without those whose callers gave up. */
  cutGroup(): readonly WaitingCommit[] {
    const group: WaitingCommit[] = [];
    let bytes = 0;
    let events = 0;
    let taken = 0;
    for (const waiting of this.#queue) {
      const { commit } = waiting;
      const full =
        group.length >= groupCommitsMax ||
        bytes + commit.bytes > groupBytesMax ||
        events + commit.eventCount > groupEventsMax;
      if (group.length > 0 && full) break;
      taken += 1;
      this.#queuedBytes -= commit.bytes;
      if (waiting.isSettled) continue;
      waiting.begin();
      bytes += commit.bytes;
      events += commit.eventCount;
      group.push(waiting);
    }
    this.#queue = this.#queue.slice(taken);
    this.#inFlight = group;
    return group;
  }

  /** The group under way is stored, or has failed: the storage answers. */
  groupSettled(): void {
    this.#inFlight = [];
    this.#stalled = false;
  }

  /** To be called when nothing waits any more; what is added later arms them again. */
  stopDeadlines(): void {
    clearTimeout(this.#deadlineTimer);
    this.#deadlineTimer = undefined;
  }

  /** Waits for the oldest commit's deadline. */
  #armDeadline(): void {
    if (this.#deadlineTimer !== undefined) return;
    const oldest =
      this.#inFlight.find((waiting) => !waiting.isSettled) ?? this.#queue.find((waiting) => !waiting.isSettled);
    if (oldest === undefined) return;
    const waitMs = Math.max(1, oldest.deadlineMs - this.#options.clock.monotonic());
    this.#deadlineTimer = setTimeout(() => {
      this.#deadlineTimer = undefined;
      this.#expire();
      this.#armDeadline();
    }, waitMs);
  }

  #expire(): void {
    const nowMs = this.#options.clock.monotonic();
    const late = `within ${this.#options.timeoutMs} ms`;
    for (const waiting of this.#inFlight) {
      if (waiting.isSettled || waiting.deadlineMs > nowMs) continue;
      this.#stalled = true;
      waiting.fail(
        new StorageUnavailableError(`The storage did not confirm the commit ${late}`, { outcome: "unknown" }),
      );
    }
    for (const waiting of this.#queue) {
      if (waiting.deadlineMs > nowMs) break;
      this.#queuedBytes -= waiting.commit.bytes;
      waiting.fail(new StorageUnavailableError(`The commit could not be started ${late}`, { outcome: "not-applied" }));
    }
    // What is late is at the front, because all wait equally long.
    const first = this.#queue.findIndex((waiting) => waiting.deadlineMs > nowMs);
    this.#queue = first < 0 ? [] : this.#queue.slice(first);
  }
}
