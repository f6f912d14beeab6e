/**
 * Decides the commits of one group, in order, against what is durable and what the group itself has accepted so far.
 * Pure bookkeeping: whatever had to be read was read before, and nothing is written here.
 */

import { EventStoreError, InternalError, InvalidArgumentError, printable, withOutcome } from "../errors.ts";
import { type StoredEvent, stampRecordedAt } from "../format/envelope.ts";
import { decodeHeadExtension, encodeHeadExtension, noExtension } from "../format/head-extension.ts";
import type { CommitRecord } from "../format/records.ts";
import type { StreamHead } from "../format/stream-head.ts";
import type { KvOperation } from "../kv/kv.ts";
import { type ExpectedVersion, satisfies } from "../vocabulary/expected-version.ts";
import type { PreparedCommit } from "./commit.ts";
import {
  type AssignedCommit,
  asRejection,
  type GroupDecoration,
  type HeadPatch,
  type HeadView,
  rowsOf,
} from "./commit-extras.ts";
import { deletedError } from "./deleted-streams.ts";
import { idKey, type RecentEvent, type RecentLog, toRecent } from "./recent-log.ts";
import { KeyDestroyedError } from "./sealed-commits.ts";
import { TermIndex } from "./term-index.ts";

/** A stream that the group writes. */
export interface StagedStream {
  readonly base: StreamHead | undefined;
  version: number;
  readonly appended: StoredEvent[];
  truncatedBefore: number;
  extension: Uint8Array;
  /** Events before this version leave the head. */
  dropTailBefore: number;
}

/**
 * Why a commit cannot be accepted as it stands; whether it repeats an earlier one is looked up afterwards, among the events
 * up to position `judgedAt`.
 */
export type Conflict =
  | {
      readonly kind: "version";
      readonly streamName: string;
      readonly expectedVersion: ExpectedVersion;
      readonly actualVersion: number;
      readonly judgedAt: number;
    }
  | { readonly kind: "match"; readonly position: number; readonly judgedAt: number };

/** What the heads that a commit changes become, by stream. */
type HeadPatches = Map<string, HeadPatch>;

export type Verdict =
  | { readonly kind: "accepted"; readonly record: CommitRecord }
  | { readonly kind: "replayed"; readonly record: CommitRecord }
  | { readonly kind: "conflict"; readonly conflict: Conflict }
  | { readonly kind: "refused"; readonly error: Error };

/** What the judge rests on, read before it begins. */
export interface JudgedState {
  readonly recent: RecentLog;
  readonly heads: ReadonlyMap<string, StreamHead>;
  /** The streams whose heads cannot be read: nothing that touches them is accepted, and what does not is not held up. */
  readonly damaged: ReadonlyMap<string, Error>;
  /** The stored results of those idempotency keys of the group that were used before. */
  readonly keys: ReadonlyMap<string, CommitRecord>;
  /** For conditions by query that reach behind `recent`: the first match there, if any. */
  readonly olderMatches: ReadonlyMap<PreparedCommit, number>;
  readonly recordedAtMs: number;
  /** The first version that retention keeps, by count, of a stream with so many events. */
  readonly firstKept: (streamName: string, version: number) => number;
  /** What adds rows to the whole group. */
  readonly decorations: readonly GroupDecoration[];
}

export class GroupJudge {
  readonly #state: JudgedState;
  readonly #lastPosition: number;
  readonly staged: Map<string, StagedStream> = new Map();
  /** The accepted events, in the order of their positions. */
  readonly events: StoredEvent[] = [];
  readonly recent: RecentEvent[] = [];
  /** What the commits bring besides their events, in order: of two rows under one key the later holds. */
  readonly rows: KvOperation[] = [];
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
    if (known !== undefined) return sameStreams(commit, known);
    const repeated = this.#repeatsRecent(commit);
    if (repeated !== undefined) return repeated;
    const damage = this.#damageOf(commit);
    if (damage !== undefined) return { kind: "refused", error: damage };
    const deleted = this.#deletedOf(commit);
    if (deleted !== undefined) return { kind: "refused", error: deleted };
    const conflict = this.#conflictOf(commit);
    if (conflict !== undefined) return { kind: "conflict", conflict };
    if (commit.personal?.some(({ key }) => key?.isUsable !== true))
      return { kind: "refused", error: new KeyDestroyedError() };
    const assigned = this.#assign(commit);
    const patches: HeadPatches = new Map();
    const rejection = this.#rejectionOf(commit, assigned, patches);
    if (rejection !== undefined) return { kind: "refused", error: rejection };
    const record = this.#accept(commit, assigned, patches);
    if (key !== undefined) this.keys.set(key, record);
    return { kind: "accepted", record };
  }

  /** What the layers above say to a commit whose conditions hold; if nothing, its rows are among the group's now. */
  #rejectionOf(commit: PreparedCommit, assigned: AssignedCommit, patches: HeadPatches): Error | undefined {
    const accepted: (() => void)[] = [];
    try {
      const lastPosition = this.#lastPosition + this.events.length;
      const refused = commit.extras?.guard?.({ lastPosition, versionOf: (name) => this.#versionOf(name) });
      if (refused !== undefined) return refused;
      for (const { streamName, change } of commit.extras?.heads ?? []) {
        const view = this.#headView(streamName, assigned);
        const patch = change(view);
        if (patch === undefined) continue;
        if (view.version === 0) throw new InternalError("A commit changes the head of a stream without events");
        patches.set(streamName, patch);
      }
      const rows = rowsOf(commit.extras, assigned);
      for (const decoration of this.#state.decorations) {
        const undo = decoration.accept(assigned);
        if (undo !== undefined) accepted.push(undo);
      }
      for (const row of rows) this.rows.push(row);
      return undefined;
    } catch (error) {
      for (const undo of accepted.reverse()) undo();
      return asRejection(error);
    }
  }

  #damageOf(commit: PreparedCommit): Error | undefined {
    const { damaged } = this.#state;
    if (damaged.size === 0) return undefined;
    const touched = [...commit.appends, ...commit.checks, ...(commit.extras?.heads ?? [])];
    const error = touched.map(({ streamName }) => damaged.get(streamName)).find((one) => one !== undefined);
    return error instanceof EventStoreError ? withOutcome(error, "not-applied") : error;
  }

  /** Nothing is appended to a deleted stream, and nothing rests on it but its maintenance. */
  #deletedOf(commit: PreparedCommit): Error | undefined {
    if (commit.extras?.maintenance !== undefined) return undefined;
    for (const touched of [commit.appends, commit.checks]) {
      for (const { streamName } of touched) {
        const deleted = deletedError(streamName, this.#extensionOf(streamName), { outcome: "not-applied" });
        if (deleted !== undefined) return deleted;
      }
    }
    return undefined;
  }

  #extensionOf(streamName: string): Uint8Array {
    return (this.staged.get(streamName) ?? this.#state.heads.get(streamName))?.extension ?? noExtension;
  }

  #headView(streamName: string, { streams }: AssignedCommit): HeadView {
    const base = this.#state.heads.get(streamName);
    const staged = this.staged.get(streamName);
    const appended = streams.find((stream) => stream.streamName === streamName)?.streamVersion;
    const version = appended ?? this.#versionOf(streamName);
    return {
      streamName,
      version,
      pagedTo: base === undefined ? 0 : base.version - base.tail.length,
      truncatedBefore: (staged ?? base)?.truncatedBefore ?? 0,
      extension: decodeHeadExtension(this.#extensionOf(streamName)),
    };
  }

  #versionOf(streamName: string): number {
    return this.staged.get(streamName)?.version ?? this.#state.heads.get(streamName)?.version ?? 0;
  }

  /** A commit whose ids are all among the recent ones of its streams is a retry; one that repeats some of them is wrong. */
  #repeatsRecent(commit: PreparedCommit): Verdict | undefined {
    const found: RecentEvent[] = [];
    for (const { streamName, events } of commit.appends) {
      for (const event of events) {
        const known = event.idGiven ? this.#findGivenId(streamName, event.id) : undefined;
        if (known !== undefined) found.push(known);
      }
    }
    const [first] = found;
    if (first === undefined) return undefined;
    if (found.length === commit.eventCount) return { kind: "replayed", record: recordOf(commit, found) };
    const taken = `version ${first.version} of ${printable(first.streamName)}: ${printable(first.givenId)}`;
    return refusal("events", `hold an id that is taken by ${taken}`);
  }

  #findGivenId(streamName: string, id: string): RecentEvent | undefined {
    return this.#givenIds.get(idKey(streamName, id)) ?? this.#state.recent.findGivenId(streamName, id);
  }

  #conflictOf(commit: PreparedCommit): Conflict | undefined {
    const judgedAt = this.#lastPosition + this.events.length;
    for (const { streamName, expectedVersion } of [...commit.appends, ...commit.checks]) {
      const actualVersion = this.#versionOf(streamName);
      if (!satisfies(expectedVersion, actualVersion))
        return { kind: "version", streamName, expectedVersion, actualVersion, judgedAt };
    }
    const position = this.#firstMatch(commit);
    return position === undefined ? undefined : { kind: "match", position, judgedAt };
  }

  #firstMatch(commit: PreparedCommit): number | undefined {
    if (commit.failIfMatch === undefined) return undefined;
    const older = this.#state.olderMatches.get(commit);
    if (older !== undefined) return older;
    const { storedFilter: filter, afterPosition } = commit.failIfMatch;
    if (filter === undefined) {
      const last = this.#lastPosition + this.events.length;
      return last > afterPosition ? afterPosition + 1 : undefined;
    }
    const durable = this.#state.recent.matching(filter, afterPosition, this.#lastPosition)[0];
    return durable ?? this.#terms.evaluate(filter).find((position) => position > afterPosition);
  }

  /** The numbers that a commit gets if it is accepted. */
  #assign(commit: PreparedCommit): AssignedCommit {
    const { recordedAtMs } = this.#state;
    const streams: { streamName: string; streamVersion: number }[] = [];
    const stored: StoredEvent[] = [];
    let position = this.#lastPosition + this.events.length;
    for (const { streamName, events } of commit.appends) {
      let version = this.#versionOf(streamName);
      for (const { bytes } of events) {
        version += 1;
        position += 1;
        stampRecordedAt(bytes, recordedAtMs);
        stored.push({ streamName, version, position, bytes });
      }
      streams.push({ streamName, streamVersion: version });
    }
    return { streams, events: stored, position, recordedAtMs };
  }

  #accept(commit: PreparedCommit, assigned: AssignedCommit, patches: HeadPatches): CommitRecord {
    const { events, streams, position, recordedAtMs } = assigned;
    let index = 0;
    for (const append of commit.appends) {
      const stream = this.#stage(append.streamName);
      for (const event of append.events) {
        const stored = events[index];
        if (stored === undefined) throw new InternalError("An accepted commit has fewer events than it came with");
        index += 1;
        const recent = toRecent(stored, recordedAtMs, event);
        stream.version = stored.version;
        stream.appended.push(stored);
        this.events.push(stored);
        this.recent.push(recent);
        this.#terms.add(stored.position, recent);
        if (event.idGiven) this.#givenIds.set(idKey(stored.streamName, event.id), recent);
      }
      dropExcess(stream, this.#state.firstKept(append.streamName, stream.version));
    }
    for (const [streamName, patch] of patches) patchHead(this.#stage(streamName), patch);
    const about = commit.appends.length > 0 ? streams : this.#checked(commit);
    return { position, recordedAtMs, streams: about, eventCount: events.length };
  }

  /** A commit that appends nothing is remembered, where it has a key, as one about the streams that it checked. */
  #checked(commit: PreparedCommit): CommitRecord["streams"] {
    return commit.checks.map(({ streamName }) => ({ streamName, streamVersion: this.#versionOf(streamName) }));
  }

  #stage(streamName: string): StagedStream {
    let stream = this.staged.get(streamName);
    if (stream === undefined) {
      const base = this.#state.heads.get(streamName);
      stream = {
        base,
        version: base?.version ?? 0,
        appended: [],
        truncatedBefore: base?.truncatedBefore ?? 0,
        extension: base?.extension ?? noExtension,
        dropTailBefore: 0,
      };
      this.staged.set(streamName, stream);
    }
    return stream;
  }
}

function patchHead(stream: StagedStream, { truncatedBefore, extension, dropTailBefore }: HeadPatch): void {
  stream.truncatedBefore = Math.max(stream.truncatedBefore, truncatedBefore ?? 0);
  stream.dropTailBefore = Math.max(stream.dropTailBefore, dropTailBefore ?? 0);
  if (extension !== undefined) stream.extension = encodeHeadExtension(extension);
}

/** What retention by count takes from readers goes with the append that is one too many. */
function dropExcess(stream: StagedStream, firstKept: number): void {
  if (firstKept <= Math.max(1, stream.truncatedBefore)) return;
  stream.truncatedBefore = firstKept;
  const extension = decodeHeadExtension(stream.extension);
  if (extension.reason !== "excess") stream.extension = encodeHeadExtension({ ...extension, reason: "excess" });
}

function refusal(argument: string, problem: string): Verdict {
  return { kind: "refused", error: new InvalidArgumentError(argument, problem, { outcome: "not-applied" }) };
}

/** The first result of a key, if it was used for a commit to the same streams. */
function sameStreams(commit: PreparedCommit, record: CommitRecord): Verdict {
  const names = record.streams.map(({ streamName }) => streamName);
  const own = commit.appends.length > 0 ? commit.appends : commit.checks;
  const same = names.length === own.length && own.every(({ streamName }) => names.includes(streamName));
  return same
    ? { kind: "replayed", record }
    : refusal("idempotencyKey", `was used for a commit to ${printable(names)}`);
}

/** The result that a commit had when its events were stored. */
function recordOf(commit: PreparedCommit, found: readonly RecentEvent[]): CommitRecord {
  const streams = commit.appends.map(({ streamName }) => {
    const versions = found.filter((event) => event.streamName === streamName).map((event) => event.version);
    return { streamName, streamVersion: versions.reduce((most, version) => Math.max(most, version), 0) };
  });
  const last = found.reduce((latest, event) => (event.position > latest.position ? event : latest));
  return { position: last.position, recordedAtMs: last.recordedAtMs, streams, eventCount: commit.eventCount };
}
