/**
 * Snapshots in the background: of streams that have passed a multiple of their decider's `everyEvents` without an `execute` that
 * would have kept their state, and the end of those whose version nobody uses any more, unless a state cannot be had without
 * them. Only of versions whose decider is in this process; a state that cannot be folded or stored is told of once and left out.
 */

import type { KeptDecider, KnownDeciders } from "../decider/known-deciders.ts";
import { ErasedMeanwhile, reachOf, type Snapshots } from "../decider/snapshots.ts";
import { loadState } from "../decider/state-loader.ts";
import { EventStoreError, type EventStoreErrorCode } from "../errors.ts";
import { decodeCompactionRecord, encodeCompactionRecord } from "../format/compaction-record.ts";
import { compactionKey, everySnapshot, ownerOfSnapshotKey, snapshotKey } from "../format/key-families.ts";
import type { KvOperation, KvRow } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { LifecyclePass, LifecycleStep, TouchedStream } from "./lifecycle-step.ts";

const snapshotsAtOnce = 64;
const rowsAtOnce = 256;
/** What is no fault of a state. */
const troubles: readonly EventStoreErrorCode[] = ["storage-unavailable", "store-closed", "writer-fenced", "overloaded"];
const sweptKey: Buffer = compactionKey("snapshots");

/** A stream that is long enough for a snapshot. */
interface Candidate extends KeptDecider {
  readonly streamName: string;
  readonly key: Uint8Array;
  /** A snapshot that reaches to here is good enough. */
  readonly due: number;
}

export class SnapshotStep implements LifecycleStep {
  readonly name = "snapshots";
  readonly #known: KnownDeciders;
  readonly #snapshots: Snapshots;
  /** By decider, the version of snapshots below which there are none. */
  #swept: ReadonlyMap<string, number> | undefined;
  readonly #told = new Set<string>();

  constructor(known: KnownDeciders, snapshots: Snapshots) {
    this.#known = known;
    this.#snapshots = snapshots;
  }

  /** Drops what deciders have left behind whose version was changed. */
  async begin(pass: LifecyclePass): Promise<void> {
    const versions = [...this.#known.versions()].filter(([, version]) => version > 1);
    if (versions.length === 0) return;
    const swept = new Map(await this.#loadSwept(pass.core));
    const changed = new Map(versions.filter(([name, version]) => version > (swept.get(name) ?? 1)));
    if (changed.size === 0) return;
    await this.#sweep(pass, changed);
    for (const [name, version] of changed) swept.set(name, version);
    await pass.core.useFamilies(["compaction"]);
    const row = encodeCompactionRecord(sweptKey, Object.fromEntries(swept));
    await pass.commit({ rows: [{ kind: "put", ...row }] });
    this.#swept = swept;
  }

  async streams(streams: readonly TouchedStream[], pass: LifecyclePass): Promise<void> {
    const candidates = streams.flatMap((stream) => this.#candidatesOf(stream));
    for (let from = 0; from < candidates.length; from += snapshotsAtOnce) {
      const some = candidates.slice(from, from + snapshotsAtOnce);
      const values = await pass.core.rows.getMany(some.map(({ key }) => key));
      for (const [index, candidate] of some.entries()) {
        const value = values[index];
        const reach = value === undefined ? 0 : reachOf({ key: candidate.key, value });
        if (reach < candidate.due) await this.#keep(candidate, pass);
      }
      await pass.breathe();
    }
  }

  #candidatesOf({ streamName, toVersion }: TouchedStream): readonly Candidate[] {
    return this.#known.of(categoryOf(streamName)).flatMap(({ decider, policy }) => {
      const every = policy.everyEvents ?? Number.POSITIVE_INFINITY;
      if (toVersion < every) return [];
      const key = snapshotKey(streamName, decider.name, policy.version);
      return [{ decider, policy, streamName, key, due: toVersion - (toVersion % every) }];
    });
  }

  async #keep({ decider, policy, streamName }: Candidate, pass: LifecyclePass): Promise<void> {
    const { core, signal } = pass;
    const snapshots = this.#snapshots;
    let rows: readonly KvOperation[];
    let guard: () => Error | undefined;
    try {
      const from = undefined;
      const reader = core.reader;
      const loaded = await loadState({ reader, snapshots, decider, streamName, from, past: false, signal });
      if (loaded.version === 0) return;
      rows = await snapshots.rows(decider, policy, streamName, loaded);
      guard = snapshots.guardOf(loaded);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof EventStoreError && troubles.includes(error.code)) throw error;
      this.#tell(core, decider.name, error);
      return;
    }
    await core.useFamilies(["snapshots"]);
    const snapshotsDropped = rows.filter(({ kind }) => kind === "delete").length;
    try {
      await pass.commit({ rows, guard }, { snapshotsWritten: 1, snapshotsDropped });
    } catch (error) {
      // Whose data was forgotten may be in the state; the next pass keeps one without.
      if (!(error instanceof ErasedMeanwhile)) throw error;
    }
  }

  #tell(core: StoreCore, deciderName: string, error: unknown): void {
    if (this.#told.has(deciderName)) return;
    this.#told.add(deciderName);
    core.warn(error);
  }

  async #loadSwept(core: StoreCore): Promise<ReadonlyMap<string, number>> {
    if (this.#swept !== undefined) return this.#swept;
    const value = await core.rows.get(sweptKey);
    try {
      const kept = value === undefined ? {} : decodeCompactionRecord({ key: sweptKey, value });
      this.#swept = new Map(Object.entries(kept).map(([name, version]) => [name, Number(version)]));
    } catch (error) {
      core.warn(error);
      this.#swept = new Map();
    }
    return this.#swept;
  }

  async #sweep(pass: LifecyclePass, versions: ReadonlyMap<string, number>): Promise<void> {
    const isOld = ({ key }: KvRow): boolean => {
      const { deciderName, snapshotVersion } = ownerOfSnapshotKey(key);
      return snapshotVersion < (versions.get(deciderName) ?? 0);
    };
    const cursor = await pass.core.rows.scan(everySnapshot, "replay");
    try {
      for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
        const old = await withoutLastSources(pass.core, rows.filter(isOld), versions);
        const bytesFreed = old.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
        if (old.length > 0) {
          const deletes = old.map(({ key }): KvOperation => ({ kind: "delete", key }));
          await pass.commit({ rows: deletes }, { snapshotsDropped: old.length, bytesFreed });
        }
        await pass.breathe();
      }
    } finally {
      cursor.close();
    }
  }
}

/**
 * Old snapshots, by the deciders' versions now, without those that are all that is left of a truncated stream's state: they go
 * when there is one of a higher version that reaches as far.
 */
async function withoutLastSources(
  core: StoreCore,
  old: readonly KvRow[],
  versions: ReadonlyMap<string, number>,
): Promise<readonly KvRow[]> {
  const isNeeded = async (row: KvRow): Promise<boolean> => {
    const { streamName, deciderName } = ownerOfSnapshotKey(row.key);
    const stream = await core.reader.streamInfo(streamName);
    if (stream === undefined || stream.truncatedBefore <= 1) return false;
    if (stream.deleted !== undefined && stream.deleted.undeletableUntil === undefined) return false;
    const reach = reachOf(row);
    if (reach < stream.truncatedBefore - 1) return false;
    const key = snapshotKey(streamName, deciderName, versions.get(deciderName) ?? 0);
    const value = await core.rows.get(key);
    return value === undefined || reachOf({ key, value }) < reach;
  };
  const needed = await Promise.all(old.map(isNeeded));
  return old.filter((_, index) => needed[index] !== true);
}
