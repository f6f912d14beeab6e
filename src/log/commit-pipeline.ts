/**
 * The one way into the log. Commits queue up; one group at a time is judged, written as one atomic batch, and made durable;
 * meanwhile the next one gathers. Only then do heads and live readers move, and only then do promises settle.
 * Nothing is acknowledged before it is durable, and nothing at all once the storage has stopped or fenced this writer.
 */

import {
  EventStoreError,
  InternalError,
  OverloadedError,
  StorageUnavailableError,
  StoreClosedError,
  withOutcome,
} from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { isDroppedKey } from "../format/key-families.ts";
import type { CommitRecord, LogEnd } from "../format/records.ts";
import type { KeyValueStore, KvOperation } from "../kv/kv.ts";
import type { Clock } from "../runtime/clock.ts";
import { DeadlineExpired, withDeadline } from "../runtime/deadline.ts";
import type { PreparedCommit } from "./commit.ts";
import { assertUpperRows, type GroupDecoration, type GroupDecorator } from "./commit-extras.ts";
import { type GroupRows, groupRows, hasRows, IndexWriter } from "./group-rows.ts";
import type { IdempotencyKeys } from "./idempotency-keys.ts";
import type { IndexReader } from "./index-reader.ts";
import { type Conflict, GroupJudge, type Verdict } from "./judge.ts";
import type { Linger } from "./linger.ts";
import type { RecentLog } from "./recent-log.ts";
import type { StreamHeads } from "./stream-heads.ts";
import type { StreamNames } from "./stream-names.ts";

/** The most commits, events and encoded bytes in one group; a single commit may have as many events. */
export const groupCommitsMax = 2_048;
export const groupEventsMax = 10_000;
export const groupBytesMax: number = 8 * 1024 * 1024;
/** The most commits and encoded bytes that wait; beyond that an append is refused as `overloaded`. */
export const queueCommitsMax = 100_000;
export const queueBytesMax: number = 64 * 1024 * 1024;

export interface CommitPipelineOptions {
  readonly kv: KeyValueStore;
  readonly clock: Clock;
  readonly heads: StreamHeads;
  readonly names: StreamNames;
  readonly recent: RecentLog;
  readonly index: IndexReader;
  readonly keys: IdempotencyKeys;
  readonly end: LogEnd;
  readonly linger: Linger;
  readonly timeoutMs: number;
  /** Whether a commit in conflict repeats an earlier one (its result), or what to tell the caller. */
  readonly explain: (commit: PreparedCommit, conflict: Conflict) => Promise<CommitRecord | EventStoreError>;
  /** A group is durable: `recent` holds its events now. */
  readonly onDurable: () => void;
  /** A group's fate is unknown: nothing is written any more. */
  readonly onStopped: () => void;
}

/** What the pipeline has counted since it was opened. */
export interface CommitStats {
  readonly groups: number;
  readonly commits: number;
  readonly events: number;
  readonly conflicts: number;
  readonly replayed: number;
  readonly queued: number;
}

export interface SettledCommit {
  readonly record: CommitRecord;
  readonly replayed: boolean;
}

/**
 * Told of each commit with events once it is durable. Where it answers with a promise, which must not reject, the caller of
 * the commit hears of its success only after that.
 */
export type AfterCommit = (events: readonly StoredEvent[]) => Promise<void> | undefined;

interface Waiting {
  readonly commit: PreparedCommit;
  readonly deadlineMs: number;
  readonly resolve: (settled: SettledCommit) => void;
  readonly reject: (error: unknown) => void;
  phase: "queued" | "in-flight" | "settled";
  unlisten: (() => void) | undefined;
}

export class CommitPipeline {
  readonly #options: CommitPipelineOptions;
  readonly #indexWriter: IndexWriter;
  #end: LogEnd;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #inFlight: Waiting[] = [];
  #running: Promise<void> | undefined;
  /** What callers still wait for behind their groups. */
  readonly #explaining = new Set<Promise<void>>();
  #deadlineTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #closing = new AbortController();
  readonly #decorators: GroupDecorator[] = [];
  #afterCommit: AfterCommit | undefined;
  /** Set when a group's fate is unknown: nothing can be judged after it. */
  #failure: EventStoreError | undefined;
  /** A group is taking longer than callers wait; new commits are turned away until it settles. */
  #stalled = false;
  #stats = { groups: 0, commits: 0, events: 0, conflicts: 0, replayed: 0 };

  constructor(options: CommitPipelineOptions) {
    this.#options = options;
    this.#end = options.end;
    this.#indexWriter = new IndexWriter(options.recent, options.end.indexedTo);
  }

  /** The end of the log as it is durable. */
  get end(): LogEnd {
    return this.#end;
  }

  get failure(): EventStoreError | undefined {
    return this.#failure;
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  stats(): CommitStats {
    return { ...this.#stats, queued: this.#queue.length };
  }

  /** From the next group on; in the order in which they were added. To be added while the store opens. */
  addDecorator(decorator: GroupDecorator): void {
    this.#decorators.push(decorator);
  }

  /** To be set while the store opens. */
  setAfterCommit(afterCommit: AfterCommit): void {
    this.#afterCommit = afterCommit;
  }

  /** Settles when the commit is durable, is found to repeat an earlier one, or failed. */
  submit(commit: PreparedCommit): Promise<SettledCommit> {
    if (commit.signal?.aborted === true) return Promise.reject(commit.signal.reason);
    const refusal = this.#refusal(commit);
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      const deadlineMs = this.#options.clock.monotonic() + this.#options.timeoutMs;
      const waiting: Waiting = { commit, deadlineMs, resolve, reject, phase: "queued", unlisten: undefined };
      this.#listen(waiting);
      this.#queue.push(waiting);
      this.#queuedBytes += commit.bytes;
      this.#armDeadline();
      this.#running ??= this.#run();
    });
  }

  /** Takes no further commits, and resolves when those that wait have settled. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    await Promise.all(this.#explaining);
    clearTimeout(this.#deadlineTimer);
  }

  #refusal(commit: PreparedCommit): EventStoreError | undefined {
    if (this.#closing.signal.aborted) return new StoreClosedError("The store is closed", { outcome: "not-applied" });
    if (this.#failure !== undefined) return again(this.#failure);
    const status = this.#options.kv.status();
    if (status.state === "closed") return new StoreClosedError("The store is closed", { outcome: "not-applied" });
    if (status.state !== "open") return again(status.error);
    if (this.#stalled)
      return new StorageUnavailableError("The storage does not answer at the moment", { outcome: "not-applied" });
    if (this.#queue.length >= queueCommitsMax || this.#queuedBytes + commit.bytes > queueBytesMax) {
      const bounds = `${queueCommitsMax} commits or ${queueBytesMax} bytes`;
      return new OverloadedError(`More than ${bounds} wait to be written`);
    }
    return undefined;
  }

  #listen(waiting: Waiting): void {
    const { signal } = waiting.commit;
    if (signal === undefined) return;
    const onAbort = (): void => {
      if (waiting.phase === "queued") this.#fail(waiting, signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    waiting.unlisten = () => signal.removeEventListener("abort", onAbort);
  }

  #settle(waiting: Waiting): boolean {
    if (waiting.phase === "settled") return false;
    waiting.phase = "settled";
    waiting.unlisten?.();
    return true;
  }

  #succeed(waiting: Waiting, record: CommitRecord, replayed: boolean): void {
    if (!this.#settle(waiting)) return;
    if (replayed) this.#stats.replayed += 1;
    else this.#stats.commits += 1;
    waiting.resolve({ record, replayed });
  }

  #fail(waiting: Waiting, error: unknown): void {
    if (this.#settle(waiting)) waiting.reject(error);
  }

  /** Waits for the oldest commit's deadline; what is late is told so, honestly. */
  #armDeadline(): void {
    if (this.#deadlineTimer !== undefined) return;
    const oldest =
      this.#inFlight.find((waiting) => waiting.phase !== "settled") ??
      this.#queue.find((waiting) => waiting.phase !== "settled");
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
      if (waiting.phase === "settled" || waiting.deadlineMs > nowMs) continue;
      this.#stalled = true;
      this.#fail(
        waiting,
        new StorageUnavailableError(`The storage did not confirm the commit ${late}`, { outcome: "unknown" }),
      );
    }
    for (const waiting of this.#queue) {
      if (waiting.deadlineMs > nowMs) break;
      this.#queuedBytes -= waiting.commit.bytes;
      this.#fail(
        waiting,
        new StorageUnavailableError(`The commit could not be started ${late}`, { outcome: "not-applied" }),
      );
    }
    // What is late is at the front, because all wait equally long.
    const first = this.#queue.findIndex((waiting) => waiting.deadlineMs > nowMs);
    this.#queue = first < 0 ? [] : this.#queue.slice(first);
  }

  async #run(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        // Lets everybody who was just answered come back with the next append before the group is cut.
        await new Promise<void>((resolve) => setImmediate(resolve));
        const { linger } = this.#options;
        await linger.wait(() => this.#queue.length, this.#closing.signal);
        this.#inFlight = this.#cutGroup();
        linger.groupStarted(this.#queue.length);
        await this.#commitGroup(this.#inFlight);
        this.#inFlight = [];
        this.#stalled = false;
      }
    } finally {
      this.#running = undefined;
    }
    if (this.#queue.length === 0) {
      clearTimeout(this.#deadlineTimer);
      this.#deadlineTimer = undefined;
    }
  }

  #cutGroup(): Waiting[] {
    const group: Waiting[] = [];
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
      if (waiting.phase === "settled") continue;
      waiting.phase = "in-flight";
      bytes += commit.bytes;
      events += commit.eventCount;
      group.push(waiting);
    }
    this.#queue = this.#queue.slice(taken);
    return group;
  }

  async #commitGroup(group: readonly Waiting[]): Promise<void> {
    let writing = false;
    try {
      if (this.#failure !== undefined) throw again(this.#failure);
      const recordedAtMs = Math.max(this.#options.clock.now(), this.#end.lastRecordedAtMs);
      const decorations = await this.#decorationsFor(group);
      const judge = await this.#judgeFor(group, recordedAtMs, decorations);
      const verdicts = group.map((waiting) => [waiting, judge.judge(waiting.commit)] as const);
      const decorated = decorations.flatMap((decoration) => decoration.rows());
      if (hasRows(judge, decorated)) {
        assertUpperRows(decorated);
        const rows = groupRows(judge, this.#end, recordedAtMs, this.#indexWriter, decorated);
        const swept = judge.keys.size > 0 ? await this.#options.keys.sweep(this.#options.clock.now(), judge.keys) : [];
        writing = true;
        await this.#write(judge, rows, swept);
        for (const decoration of decorations) decoration.durable();
      }
      // Before anybody is answered: who comes back with the next append has not come by himself.
      this.#options.linger.groupStored(this.#queue.length);
      this.#announce(verdicts, judge.events);
    } catch (error) {
      const failure = asStoreError(error, writing ? "unknown" : "not-applied");
      // What may have been written decides all that follows, so nothing can follow until the store is opened again.
      if (writing && failure.outcome !== "not-applied") {
        this.#failure = failure;
        this.#options.onStopped();
      }
      for (const waiting of group) this.#fail(waiting, failure);
    }
  }

  async #decorationsFor(group: readonly Waiting[]): Promise<readonly GroupDecoration[]> {
    if (this.#decorators.length === 0) return [];
    const commits = group.map((waiting) => waiting.commit);
    return await Promise.all(this.#decorators.map((decorator) => decorator.begin(commits)));
  }

  async #judgeFor(
    group: readonly Waiting[],
    recordedAtMs: number,
    decorations: readonly GroupDecoration[],
  ): Promise<GroupJudge> {
    const { heads, keys, recent } = this.#options;
    const names = new Set<string>();
    const keysUsed: string[] = [];
    for (const { commit } of group) {
      for (const { streamName } of commit.appends) names.add(streamName);
      for (const { streamName } of commit.checks) names.add(streamName);
      if (commit.idempotencyKey !== undefined) keysUsed.push(commit.idempotencyKey);
    }
    const olderMatches = await this.#olderMatches(group);
    return new GroupJudge({
      recent,
      heads: await heads.getMany(names),
      keys: await keys.find(keysUsed),
      olderMatches,
      recordedAtMs,
      decorations,
    });
  }

  /** Conditions by query that reach behind what is in memory ask the stored index. */
  async #olderMatches(group: readonly Waiting[]): Promise<Map<PreparedCommit, number>> {
    const found = new Map<PreparedCommit, number>();
    const toPosition = this.#options.recent.firstPosition - 1;
    for (const { commit } of group) {
      const condition = commit.failIfMatch;
      if (condition?.storedFilter === undefined || condition.afterPosition >= toPosition) continue;
      const position = await this.#options.index.first(condition.storedFilter, condition.afterPosition + 1, toPosition);
      if (position !== undefined) found.set(commit, position);
    }
    return found;
  }

  async #write(judge: GroupJudge, rows: GroupRows, swept: readonly KvOperation[]): Promise<void> {
    const { kv, heads, names, recent, onDurable } = this.#options;
    const dropsEvents = judge.rows.some(({ key }) => isDroppedKey(key));
    const filter = names.plan(this.#end.lastPosition, dropsEvents);
    await kv.write([...rows.operations, ...swept, ...filter.rows]);
    this.#indexWriter.confirm(rows.indexProgress);
    names.confirm(filter);
    for (const [streamName, { base }] of judge.staged) if (base === undefined) names.add(streamName);
    for (const head of rows.heads) heads.put(head);
    this.#end = rows.end;
    recent.add(judge.recent, rows.end.indexedTo);
    this.#stats.groups += 1;
    this.#stats.events += judge.events.length;
    if (judge.events.length > 0) onDurable();
  }

  #announce(verdicts: readonly (readonly [Waiting, Verdict])[], events: readonly StoredEvent[]): void {
    let next = 0;
    for (const [waiting, verdict] of verdicts) {
      switch (verdict.kind) {
        case "accepted":
          this.#succeedAfter(waiting, verdict.record, events.slice(next, next + waiting.commit.eventCount));
          next += waiting.commit.eventCount;
          break;
        case "replayed":
          this.#succeed(waiting, verdict.record, true);
          break;
        case "refused":
          this.#fail(waiting, verdict.error);
          break;
        case "conflict":
          this.#stats.conflicts += 1;
          this.#explainLater(waiting, verdict.conflict);
      }
    }
  }

  /** What follows the commit comes first, if there is anything; by then the commit is durable, so no deadline applies. */
  #succeedAfter(waiting: Waiting, record: CommitRecord, events: readonly StoredEvent[]): void {
    const after = events.length === 0 ? undefined : this.#afterCommit?.(events);
    if (after === undefined || !this.#settle(waiting)) {
      this.#succeed(waiting, record, false);
      return;
    }
    this.#stats.commits += 1;
    const following = after.finally(() => {
      this.#explaining.delete(following);
      waiting.resolve({ record, replayed: false });
    });
    this.#explaining.add(following);
  }

  #explainLater(waiting: Waiting, conflict: Conflict): void {
    const explaining = this.#explain(waiting, conflict).finally(() => this.#explaining.delete(explaining));
    this.#explaining.add(explaining);
  }

  async #explain(waiting: Waiting, conflict: Conflict): Promise<void> {
    try {
      const { explain, timeoutMs } = this.#options;
      const answer = await withDeadline(explain(waiting.commit, conflict), timeoutMs, "Looking at the conflict");
      if (answer instanceof EventStoreError) this.#fail(waiting, answer);
      else this.#succeed(waiting, answer, true);
    } catch (error) {
      // A commit with ids of its own may be a retry of one that is stored: who cannot look does not know.
      const { appends } = waiting.commit;
      const mayBeStored =
        appends.length > 0 && appends.every((append) => append.events.every((event) => event.idGiven));
      const late = error instanceof DeadlineExpired;
      const cause = late ? new StorageUnavailableError("The storage did not answer", { cause: error }) : error;
      this.#fail(waiting, asStoreError(cause, mayBeStored ? "unknown" : "not-applied"));
    }
  }
}

/** The error that stopped the store, told to a commit that was not even begun. */
function again(failure: EventStoreError): EventStoreError {
  return withOutcome(failure, "not-applied");
}

function asStoreError(error: unknown, outcome: "not-applied" | "unknown"): EventStoreError {
  if (error instanceof EventStoreError) return error.outcome === undefined ? withOutcome(error, outcome) : error;
  return new InternalError("A commit group failed", { cause: error, outcome });
}
