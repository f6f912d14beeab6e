/**
 * What the layers above the log add to commits: rows of their own, put into the same atomic batch; a guard that the judge
 * asks; and decorators, which add rows to whole groups (inline projections). Rows live in families from 70 on, and must not
 * touch what the log keeps, but for maintenance, which rearranges the log's pages and says so. Commits without events go the
 * same way as all others, and take no position.
 */

import { InternalError } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import type { HeadExtension } from "../format/head-extension.ts";
import { firstUpperTag, isMaintained, storeHeaderKey } from "../format/key-families.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { PreparedCommit } from "./commit.ts";

/** The most rows that one commit may carry besides its events. */
export const commitRowsMax = 10_000;
/** The most heads that one commit may change besides those of the streams that it appends to, and what each counts for. */
export const commitHeadsMax = 1_000;
const bytesPerHead = 2_048;
/** A row counts for this many bytes beside its own in the bounds of queue and group: putting it takes as long as that. */
const bytesPerRow = 1_024;
/** How many rows are reckoned with where they are computed and nothing is said. */
const computedRowsDefault = 16;

/** A commit whose conditions hold, with its numbers. */
export interface AssignedCommit {
  /** In the order of the commit's appends: how many events each stream has with these. */
  readonly streams: readonly { readonly streamName: string; readonly streamVersion: number }[];
  /** Numbered and stamped; the registry's `read` makes them what readers will see. */
  readonly events: readonly StoredEvent[];
  /** The position of its last event; of the last event before it where it has none. */
  readonly position: number;
  readonly recordedAtMs: number;
}

/** What a guard may look at: durable state, and what the commits before it in the same group have made of it. */
export interface GuardView {
  /** Of a stream that the commit appends to or checks. */
  versionOf(streamName: string): number;
  /** The last position before this commit. */
  readonly lastPosition: number;
}

/** The head of a stream as a change of it meets it: behind the commits before it, and behind its own commit's events. */
export interface HeadView {
  readonly streamName: string;
  /** 0 where there is no such stream; then there is nothing to change. */
  readonly version: number;
  /** Versions up to this one are in pages, those behind it in the head itself. */
  readonly pagedTo: number;
  readonly truncatedBefore: number;
  readonly extension: HeadExtension;
}

/** What is to be different in a head; what is left out stays. */
export interface HeadPatch {
  /** Versions before it are gone for readers from this commit on. It never goes back. */
  readonly truncatedBefore?: number;
  readonly extension?: HeadExtension;
  /** Takes the events before this version out of the head. */
  readonly dropTailBefore?: number;
}

/** A change of a stream's head besides what events make of it. */
export interface HeadChange {
  readonly streamName: string;
  /**
   * Called by the judge, in commit order, if the commit is accepted so far: what the head becomes, `undefined` where it stays.
   * Synchronous and without effects of its own; what it throws rejects the commit, as it is. Only for streams that exist.
   */
  change(head: HeadView): HeadPatch | undefined;
}

/** Rows that are known beforehand. */
export type KnownRows = readonly KvOperation[];

/** Rows that are known beforehand, or are computed once the commit has its numbers. */
export type CommitRows = KnownRows | ComputedRows;

export interface ComputedRows {
  /** The most bytes of keys and values that `compute` will return. */
  readonly bytesMax: number;
  /** The most rows. Default: `commitRowsMax`, of which 16 count for the group's bounds. */
  readonly rowsMax?: number;
  /** Called by the judge, in commit order, if the commit is accepted so far; what it throws rejects the commit, as it is. */
  compute(assigned: AssignedCommit): readonly KvOperation[];
}

/** What a commit of the upper layers carries besides its events. */
export interface CommitExtras {
  readonly rows?: CommitRows;
  /** At most `commitHeadsMax`, a stream once. A stream that is deleted may be among them. */
  readonly heads?: readonly HeadChange[];
  /** The commit is one of the store's own: it may name streams and types that begin with `$`. */
  readonly system?: boolean;
  /**
   * Rows of the log's own families (pages, the index, dropped positions) that are rearranged behind the events: for the life
   * cycle alone. Pages never change once they are written and appends only add newer ones, so what was read of them before
   * the commit holds in it as long as one hand at a time does maintenance; what rests on a stream's version is given `checks`.
   */
  readonly maintenance?: CommitRows;
  /**
   * Asked in commit order after the commit's conditions have held, and not asked for a retry: what it returns rejects the
   * commit, as it is. Synchronous, and without effects of its own: the group may still fail.
   */
  guard?(view: GuardView): Error | undefined;
}

/**
 * Adds rows to every group, from what its commits come to. Groups go one at a time: while a decoration is in use nothing else
 * is written, so that what `begin` reads is what `rows` may overwrite.
 */
export interface GroupDecorator {
  /**
   * Reads what it will need, before the group is judged: rows as they are durable. The commits are candidates; some may be
   * rejected. Their events have no numbers yet: to look into one, let the registry `read` its bytes under made-up ones. What it
   * throws fails the whole group, with outcome `not-applied`.
   */
  begin(commits: readonly PreparedCommit[]): Promise<GroupDecoration>;
}

/** One group's worth of a decorator; it holds what the group's earlier commits have changed, as the overlay for later ones. */
export interface GroupDecoration {
  /**
   * In commit order, for each commit that has passed its conditions and its guard, those without events included. What it
   * throws rejects that commit alone, as it is: it must then have left no trace here. It keeps its own bound of bytes.
   * Decorations are asked in the order of their registration; what `accept` returns takes the commit back, where a later
   * decoration refuses it.
   */
  accept(commit: AssignedCommit): undefined | (() => void);
  /** All rows of the group; asked once, after the last `accept`. What it throws fails the group. */
  rows(): readonly KvOperation[];
  /** The group is durable: what is kept in memory may move now. Not called for a group that failed. */
  durable(): void;
}

function bytesOf(operations: readonly KvOperation[]): number {
  return operations.reduce(
    (sum, operation) => sum + operation.key.length + (operation.kind === "put" ? operation.value.length : 0),
    0,
  );
}

function isList(rows: CommitRows): rows is readonly KvOperation[] {
  return Array.isArray(rows);
}

/** What a commit's rows, maintenance included, count for in the bounds of queue and group. */
export function extrasBytes(extras: CommitExtras | undefined): number {
  const heads = (extras?.heads?.length ?? 0) * bytesPerHead;
  return heads + announcedBytes(extras?.rows) + announcedBytes(extras?.maintenance);
}

function announcedBytes(rows: CommitRows | undefined): number {
  if (rows === undefined) return 0;
  if (isList(rows)) return bytesOf(rows) + rows.length * bytesPerRow;
  return rows.bytesMax + (rows.rowsMax ?? computedRowsDefault) * bytesPerRow;
}

/** Throws `internal` where rows would touch what is the log's. */
export function assertUpperRows(operations: readonly KvOperation[]): void {
  for (const { key } of operations) {
    if ((key[0] ?? 0) >= firstUpperTag || Buffer.compare(key, storeHeaderKey) === 0) continue;
    throw new InternalError("A row beside the events is of a family of the log", { outcome: "not-applied" });
  }
}

/** Throws `internal` where maintenance would touch more than what it is for. */
function assertMaintainedRows(operations: readonly KvOperation[]): void {
  if (operations.every(({ key }) => isMaintained(key))) return;
  throw new InternalError("A row of maintenance is of a family that it must not touch", { outcome: "not-applied" });
}

/** The rows of a commit, within its bounds. Throws `internal` where its maker broke them, or what that threw. */
export function rowsOf(extras: CommitExtras | undefined, assigned: AssignedCommit): readonly KvOperation[] {
  const rows = boundedRows(extras?.rows, assigned);
  assertUpperRows(rows);
  const maintenance = boundedRows(extras?.maintenance, assigned);
  assertMaintainedRows(maintenance);
  return maintenance.length === 0 ? rows : [...maintenance, ...rows];
}

function boundedRows(rows: CommitRows | undefined, assigned: AssignedCommit): readonly KvOperation[] {
  if (rows === undefined) return [];
  const operations = isList(rows) ? rows : rows.compute(assigned);
  const bytes = bytesOf(operations);
  const bytesMax = isList(rows) ? bytes : rows.bytesMax;
  const rowsMax = Math.min(commitRowsMax, isList(rows) ? operations.length : (rows.rowsMax ?? commitRowsMax));
  if (operations.length > rowsMax || bytes > bytesMax) {
    const found = `${operations.length} rows of ${bytes} bytes`;
    throw new InternalError(`A commit has more rows than it said: ${found}`, { outcome: "not-applied" });
  }
  return operations;
}

/** What a callback threw, as the error that its commit is rejected with: a user's own error stays as it is. */
export function asRejection(error: unknown): Error {
  if (error instanceof Error) return error;
  return new InternalError("What judges a commit threw something that is no error", {
    cause: error,
    outcome: "not-applied",
  });
}
