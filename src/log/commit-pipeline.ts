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
import { CommitQueue, queueBytesMax, queueCommitsMax } from "./commit-queue.ts";
import { type GroupRows, groupRows, hasRows, IndexWriter } from "./group-rows.ts";
import type { IdempotencyKeys } from "./idempotency-keys.ts";
import type { IndexReader } from "./index-reader.ts";
import type { Conflict, GroupJudge, Verdict } from "./judge.ts";
import type { Linger } from "./linger.ts";
import { prepareJudge } from "./prepare-judge.ts";
import type { RecentLog } from "./recent-log.ts";
import type { RetentionRules } from "./retention-rules.ts";
import type { StreamHeads } from "./stream-heads.ts";
import type { StreamNames } from "./stream-names.ts";
import type { SettledCommit, WaitingCommit } from "./waiting-commit.ts";

export interface CommitPipelineOptions {
  readonly kv: KeyValueStore;
  readonly clock: Clock;
  readonly heads: StreamHeads;
  readonly names: StreamNames;
  readonly recent: RecentLog;
  readonly index: IndexReader;
  readonly keys: IdempotencyKeys;
  readonly rules: RetentionRules;
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

/**
 * Told of each commit with events once it is durable. Where it answers with a promise, which must not reject, the caller of
 * the commit hears of its success only after that.
 */
export type AfterCommit = (events: readonly StoredEvent[]) => Promise<void> | undefined;

export class CommitPipeline {
  readonly #options: CommitPipelineOptions;
  readonly #indexWriter: IndexWriter;
  #end: LogEnd;
  readonly #queue: CommitQueue;
  #running: Promise<void> | undefined;
  /** What callers still wait for behind their groups. */
  readonly #explaining = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #decorators: GroupDecorator[] = [];
  #afterCommit: AfterCommit | undefined;
  /** Set when a group's fate is unknown: nothing can be judged after it. */
  #failure: EventStoreError | undefined;
  #stats = { groups: 0, commits: 0, events: 0, conflicts: 0, replayed: 0 };

  constructor(options: CommitPipelineOptions) {
    this.#options = options;
    this.#end = options.end;
    this.#queue = new CommitQueue(options);
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
    return this.#queue.stalled;
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
    const settled = this.#queue.add(commit);
    this.#running ??= this.#run();
    return settled;
  }

  /** Takes no further commits, and resolves when those that wait have settled. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    await Promise.all(this.#explaining);
    this.#queue.stopDeadlines();
  }

  #refusal(commit: PreparedCommit): EventStoreError | undefined {
    if (this.#closing.signal.aborted) return new StoreClosedError("The store is closed", { outcome: "not-applied" });
    if (this.#failure !== undefined) return again(this.#failure);
    const status = this.#options.kv.status();
    if (status.state === "closed") return new StoreClosedError("The store is closed", { outcome: "not-applied" });
    if (status.state !== "open") return again(status.error);
    if (this.#queue.stalled)
      return new StorageUnavailableError("The storage does not answer at the moment", { outcome: "not-applied" });
    if (!this.#queue.hasRoomFor(commit)) {
      const bounds = `${queueCommitsMax} commits or ${queueBytesMax} bytes`;
      return new OverloadedError(`More than ${bounds} wait to be written`);
    }
    return undefined;
  }

  #succeed(waiting: WaitingCommit, record: CommitRecord, replayed: boolean): void {
    if (!waiting.settle()) return;
    if (replayed) this.#stats.replayed += 1;
    else this.#stats.commits += 1;
    waiting.resolve({ record, replayed });
  }

  async #run(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        // Lets everybody who was just answered come back with the next append before the group is cut.
        await new Promise<void>((resolve) => setImmediate(resolve));
        const { linger } = this.#options;
        await linger.wait(() => this.#queue.length, this.#closing.signal);
        const group = this.#queue.cutGroup();
        linger.groupStarted(this.#queue.length);
        await this.#commitGroup(group);
        this.#queue.groupSettled();
      }
    } finally {
      this.#running = undefined;
    }
    if (this.#queue.length === 0) this.#queue.stopDeadlines();
  }

  async #commitGroup(group: readonly WaitingCommit[]): Promise<void> {
    let writing = false;
    try {
      if (this.#failure !== undefined) throw again(this.#failure);
      const recordedAtMs = Math.max(this.#options.clock.now(), this.#end.lastRecordedAtMs);
      const commits = group.map(({ commit }) => commit);
      const decorations = await this.#decorationsFor(commits);
      const judge = await prepareJudge(this.#options, commits, recordedAtMs, decorations);
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
      for (const waiting of group) waiting.fail(failure);
    }
  }

  async #decorationsFor(commits: readonly PreparedCommit[]): Promise<readonly GroupDecoration[]> {
    if (this.#decorators.length === 0) return [];
    return await Promise.all(this.#decorators.map((decorator) => decorator.begin(commits)));
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

  #announce(verdicts: readonly (readonly [WaitingCommit, Verdict])[], events: readonly StoredEvent[]): void {
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
          waiting.fail(verdict.error);
          break;
        case "conflict":
          this.#stats.conflicts += 1;
          this.#explainLater(waiting, verdict.conflict);
      }
    }
  }

  /** What follows the commit comes first, if there is anything; by then the commit is durable, so no deadline applies. */
  #succeedAfter(waiting: WaitingCommit, record: CommitRecord, events: readonly StoredEvent[]): void {
    const after = events.length === 0 ? undefined : this.#afterCommit?.(events);
    if (after === undefined || !waiting.settle()) {
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

  #explainLater(waiting: WaitingCommit, conflict: Conflict): void {
    const explaining = this.#explain(waiting, conflict).finally(() => this.#explaining.delete(explaining));
    this.#explaining.add(explaining);
  }

  async #explain(waiting: WaitingCommit, conflict: Conflict): Promise<void> {
    try {
      const { explain, timeoutMs } = this.#options;
      const answer = await withDeadline(explain(waiting.commit, conflict), timeoutMs, "Looking at the conflict");
      if (answer instanceof EventStoreError) waiting.fail(answer);
      else this.#succeed(waiting, answer, true);
    } catch (error) {
      // A commit with ids of its own may be a retry of one that is stored: who cannot look does not know.
      const { appends } = waiting.commit;
      const mayBeStored =
        appends.length > 0 && appends.every((append) => append.events.every((event) => event.idGiven));
      const late = error instanceof DeadlineExpired;
      const cause = late ? new StorageUnavailableError("The storage did not answer", { cause: error }) : error;
      waiting.fail(asStoreError(cause, mayBeStored ? "unknown" : "not-applied"));
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
