/**
 * Decides the commits of one group, in order, against what is durable and what the group itself has accepted so far.
 * Pure bookkeeping: whatever had to be read was read before, and nothing is written here.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import { type StoredEvent, stampRecordedAt } from "../format/envelope.ts";
import type { CommitRecord } from "../format/records.ts";
import type { StreamHead } from "../format/stream-head.ts";
import { type ExpectedVersion, satisfies } from "../vocabulary/expected-version.ts";
import type { PreparedAppend, PreparedCommit } from "./commit.ts";
import { type RecentEvent, type RecentLog, toRecent } from "./recent-log.ts";
import { TermIndex } from "./term-index.ts";

/** A stream that the group writes. */
export interface StagedStream {
  readonly base: StreamHead | undefined;
  version: number;
  readonly appended: StoredEvent[];
}

/** Why a commit cannot be accepted as it stands; whether it repeats an earlier one is looked up afterwards. */
export type Conflict =
  | {
      readonly kind: "version";
      readonly streamName: string;
      readonly expectedVersion: ExpectedVersion;
      readonly actualVersion: number;
    }
  | { readonly kind: "match"; readonly position: number };

export type Verdict =
  | { readonly kind: "accepted"; readonly record: CommitRecord }
  | { readonly kind: "replayed"; readonly record: CommitRecord }
  | { readonly kind: "conflict"; readonly conflict: Conflict }
  | { readonly kind: "refused"; readonly error: InvalidArgumentError };

type Repetition =
  | { readonly kind: "none" }
  | { readonly kind: "whole"; readonly record: CommitRecord }
  | { readonly kind: "part" | "broken"; readonly error: InvalidArgumentError };

/** What the judge rests on, read before it begins. */
export interface JudgedState {
  readonly recent: RecentLog;
  readonly heads: ReadonlyMap<string, StreamHead>;
  /** The stored results of those idempotency keys of the group that were used before. */
  readonly keys: ReadonlyMap<string, CommitRecord>;
  /** For conditions by query that reach behind `recent`: the first match there, if any. */
  readonly olderMatches: ReadonlyMap<PreparedCommit, number>;
  readonly recordedAtMs: number;
}

export class GroupJudge {
  readonly #state: JudgedState;
  readonly #lastPosition: number;
  readonly staged: Map<string, StagedStream> = new Map();
  /** The accepted events, in the order of their positions. */
  readonly events: StoredEvent[] = [];
  readonly recent: RecentEvent[] = [];
  readonly keys: Map<string, CommitRecord> = new Map();
  readonly #terms = new TermIndex();
  readonly #givenIds = new Map<string, RecentEvent>();

  constructor(state: JudgedState) {
    this.#state = state;
    this.#lastPosition = state.recent.lastPosition;
  }

  judge(commit: PreparedCommit): Verdict {
    const key = commit.idempotencyKey;
    const known = key === undefined ? undefined : (this.keys.get(key) ?? this.#state.keys.get(key));
    if (known !== undefined) return { kind: "replayed", record: known };
    const repeated = this.#repeatsRecent(commit);
    if (repeated.kind === "whole") return { kind: "replayed", record: repeated.record };
    if (repeated.kind === "broken") return { kind: "refused", error: repeated.error };
    const conflict = this.#conflictOf(commit);
    if (conflict !== undefined) return { kind: "conflict", conflict };
    if (repeated.kind === "part") return { kind: "refused", error: repeated.error };
    const record = this.#accept(commit);
    if (key !== undefined) this.keys.set(key, record);
    return { kind: "accepted", record };
  }

  #versionOf(streamName: string): number {
    return this.staged.get(streamName)?.version ?? this.#state.heads.get(streamName)?.version ?? 0;
  }

  /**
   * Compares the given ids of appends without an exact expectation with the recent ones. `part`: those are all known, but
   * the commit has other appends, whose exact expectations must fail if it is a retry.
   */
  #repeatsRecent(commit: PreparedCommit): Repetition {
    const found: (readonly [PreparedAppend, RecentEvent])[] = [];
    let loose = 0;
    for (const append of commit.appends) {
      if (append.expectedVersion !== "any" && append.expectedVersion !== "stream-exists") continue;
      loose += append.events.length;
      for (const event of append.events) {
        const known = event.idGiven ? this.#findGivenId(event.id) : undefined;
        if (known !== undefined) found.push([append, known]);
      }
    }
    if (found.length === 0) return { kind: "none" };
    const elsewhere = found.find(([append, known]) => append.streamName !== known.streamName);
    const [, known] = elsewhere ?? found[0] ?? [];
    const problem = `hold an id that is taken by version ${known?.version} of ${printable(known?.streamName)}: ${printable(known?.givenId)}`;
    const error = new InvalidArgumentError("events", problem, { outcome: "not-applied" });
    if (elsewhere !== undefined || found.length < loose) return { kind: "broken", error };
    return loose < commit.eventCount ? { kind: "part", error } : { kind: "whole", record: recordOf(commit, found) };
  }

  #findGivenId(id: string): RecentEvent | undefined {
    return this.#givenIds.get(id) ?? this.#state.recent.findGivenId(id);
  }

  #conflictOf(commit: PreparedCommit): Conflict | undefined {
    for (const { streamName, expectedVersion } of [...commit.appends, ...commit.checks]) {
      const actualVersion = this.#versionOf(streamName);
      if (!satisfies(expectedVersion, actualVersion))
        return { kind: "version", streamName, expectedVersion, actualVersion };
    }
    const position = this.#firstMatch(commit);
    return position === undefined ? undefined : { kind: "match", position };
  }

  #firstMatch(commit: PreparedCommit): number | undefined {
    if (commit.failIfMatch === undefined) return undefined;
    const older = this.#state.olderMatches.get(commit);
    if (older !== undefined) return older;
    const { filter, afterPosition } = commit.failIfMatch;
    if (filter === undefined) {
      const last = this.#lastPosition + this.events.length;
      return last > afterPosition ? afterPosition + 1 : undefined;
    }
    const durable = this.#state.recent.matching(filter, afterPosition, this.#lastPosition)[0];
    return durable ?? this.#terms.evaluate(filter).find((position) => position > afterPosition);
  }

  #accept(commit: PreparedCommit): CommitRecord {
    const streams: { streamName: string; streamVersion: number }[] = [];
    for (const { streamName, events } of commit.appends) {
      const stream = this.#stage(streamName);
      for (const event of events) {
        stream.version += 1;
        stampRecordedAt(event.bytes, this.#state.recordedAtMs);
        const position = this.#lastPosition + this.events.length + 1;
        const stored: StoredEvent = { streamName, version: stream.version, position, bytes: event.bytes };
        const recent = toRecent(stored, this.#state.recordedAtMs, event);
        stream.appended.push(stored);
        this.events.push(stored);
        this.recent.push(recent);
        this.#terms.add(position, recent);
        if (event.idGiven) this.#givenIds.set(event.id, recent);
      }
      streams.push({ streamName, streamVersion: stream.version });
    }
    return { position: this.#lastPosition + this.events.length, recordedAtMs: this.#state.recordedAtMs, streams };
  }

  #stage(streamName: string): StagedStream {
    let stream = this.staged.get(streamName);
    if (stream === undefined) {
      const base = this.#state.heads.get(streamName);
      stream = { base, version: base?.version ?? 0, appended: [] };
      this.staged.set(streamName, stream);
    }
    return stream;
  }
}

/** The result that a commit had when its events were stored. */
function recordOf(commit: PreparedCommit, found: readonly (readonly [PreparedAppend, RecentEvent])[]): CommitRecord {
  const last = found.reduce(
    (latest, [, event]) => (event.position > latest.position ? event : latest),
    found[0]?.[1] as RecentEvent,
  );
  const streams = commit.appends.map(({ streamName }) => {
    const versions = found.filter(([append]) => append.streamName === streamName).map(([, event]) => event.version);
    return { streamName, streamVersion: Math.max(...versions) };
  });
  return { position: last.position, recordedAtMs: last.recordedAtMs, streams };
}
