/**
 * A commit whose caller waits for what becomes of it. It settles once, whoever comes first: the group that it went into, its deadline,
 * or the caller's signal, which counts for as long as it is queued.
 */

import type { CommitRecord } from "../format/records.ts";
import type { PreparedCommit } from "./commit.ts";

export interface SettledCommit {
  readonly record: CommitRecord;
  readonly replayed: boolean;
}

/** How the caller's promise settles. */
export interface Settling {
  readonly resolve: (settled: SettledCommit) => void;
  readonly reject: (error: unknown) => void;
}

export class WaitingCommit {
  readonly commit: PreparedCommit;
  /** By the monotonic clock. */
  readonly deadlineMs: number;
  readonly #settling: Settling;
  #phase: "queued" | "in-flight" | "settled" = "queued";
  #unlisten: (() => void) | undefined;

  constructor(commit: PreparedCommit, deadlineMs: number, settling: Settling) {
    this.commit = commit;
    this.deadlineMs = deadlineMs;
    this.#settling = settling;
    this.#listen();
  }

  get isSettled(): boolean {
    return this.#phase === "settled";
  }

  /** It goes into a group: from now on it may be written, whatever its caller wants. */
  begin(): void {
    this.#phase = "in-flight";
  }

  /** Takes the commit for the one who will `resolve` it; false where it has settled before. */
  settle(): boolean {
    if (this.#phase === "settled") return false;
    this.#phase = "settled";
    this.#unlisten?.();
    return true;
  }

  /** To be called once, by whoever had `settle` answer true. */
  resolve(settled: SettledCommit): void {
    this.#settling.resolve(settled);
  }

  fail(error: unknown): void {
    if (this.settle()) this.#settling.reject(error);
  }

  #listen(): void {
    const { signal } = this.commit;
    if (signal === undefined) return;
    const onAbort = (): void => {
      if (this.#phase === "queued") this.fail(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#unlisten = () => signal.removeEventListener("abort", onAbort);
  }
}
