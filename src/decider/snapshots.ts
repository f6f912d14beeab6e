/**
 * Snapshots of states, kept in the store under stream, decider and the version of its snapshots. They are a cache: one that
 * is damaged, or does not fit, is told to `warn` and ignored; one of another version is never looked at.
 */

import { InvalidArgumentError } from "../errors.ts";
import { snapshotKey } from "../format/key-families.ts";
import type { StoredRow } from "../format/pages.ts";
import { encodePayload } from "../format/payload.ts";
import { decodeSnapshot, encodeSnapshot, type Snapshot } from "../format/snapshot.ts";
import type { KnownRows } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { AnyDecider, SnapshotPolicy } from "./define-decider.ts";
import { type SnapshotFinder, SnapshotReader } from "./snapshot-reader.ts";

/** The most snapshots that are being written in the background; beyond that they are left for another time. */
export const backgroundSnapshotsMax = 64;
/** The most snapshots of lower versions that go when one is written. */
const olderDroppedMax = 64;

/** A state that can be kept: up to where, and the position of the last event in it. */
export interface StateToKeep {
  readonly state: unknown;
  readonly version: number;
  readonly position: number;
  /** How many subjects had been forgotten when its events were read (`StoreCore.erasures`). */
  readonly since: number;
}

/** A subject was forgotten since a state was read: it may hold what must not be kept. */
export class ErasedMeanwhile extends Error {
  override readonly name = "ErasedMeanwhile";
}

/** The version of the stream that a snapshot reaches to; 0 where it cannot be read. */
export function reachOf(row: StoredRow): number {
  try {
    return decodeSnapshot(row).streamVersion;
  } catch {
    return 0;
  }
}

export class Snapshots implements SnapshotFinder {
  readonly #core: StoreCore;
  readonly #reader: SnapshotReader;
  readonly #writing = new Set<Promise<void>>();

  constructor(core: StoreCore) {
    this.#core = core;
    this.#reader = new SnapshotReader(core.rows, core.warn);
    core.onClose(async () => {
      await Promise.all(this.#writing);
    });
  }

  /** To be taken before a state is read that may be kept. */
  get erasures(): number {
    return this.#core.erasures.count;
  }

  async find(...given: Parameters<SnapshotFinder["find"]>): Promise<Snapshot | undefined> {
    return await this.#reader.find(...given);
  }

  /**
   * Writes a snapshot and waits for it; none where a subject was forgotten meanwhile, which may be in the state. Throws as `rows`,
   * and as `commit`.
   */
  async write(
    decider: AnyDecider,
    policy: SnapshotPolicy<unknown>,
    streamName: string,
    kept: StateToKeep,
  ): Promise<void> {
    const rows = await this.rows(decider, policy, streamName, kept);
    await this.#core.useFamilies(["snapshots"]);
    try {
      await this.#core.submit({ rows, guard: this.guardOf(kept) });
    } catch (error) {
      if (!(error instanceof ErasedMeanwhile)) throw error;
    }
  }

  /**
   * Has the commit of a state's rows refused, with `ErasedMeanwhile`, where a subject was forgotten since the state was read. Asked in
   * commit order: what comes before the forgetting is removed by it, what comes after is refused here.
   */
  guardOf({ since }: Pick<StateToKeep, "since">): () => Error | undefined {
    return () => (this.erasures === since ? undefined : new ErasedMeanwhile());
  }

  /**
   * The rows that keep a state: its snapshot, and the end of those of lower versions, which nobody looks at any more; not of one
   * that reaches further, which may be all that is left of what was truncated meanwhile. Throws `invalid-argument` for a state that
   * cannot be stored.
   */
  async rows(
    decider: AnyDecider,
    policy: SnapshotPolicy<unknown>,
    streamName: string,
    kept: StateToKeep,
  ): Promise<KnownRows> {
    const state = encodePayload(kept.state, "state");
    if ("issues" in state) {
      const [issue] = state.issues;
      const problem = `of ${decider.name} cannot be stored: ${issue?.path ?? "state"} ${issue?.message ?? ""}`;
      throw new InvalidArgumentError("state", problem, { outcome: "not-applied" });
    }
    const key = snapshotKey(streamName, decider.name, policy.version);
    const about = { streamVersion: kept.version, position: kept.position, takenAtMs: this.#core.clock.now() };
    const older = await this.#older(streamName, decider.name, policy.version, kept.version);
    return [...older, { kind: "put", key, value: encodeSnapshot(key, about, state) }];
  }

  async #older(streamName: string, deciderName: string, version: number, reach: number): Promise<KnownRows> {
    if (version <= 1) return [];
    const range = {
      start: snapshotKey(streamName, deciderName, 0),
      end: snapshotKey(streamName, deciderName, version),
    };
    const cursor = await this.#core.rows.scan(range, "lookup");
    try {
      const rows = await cursor.next(olderDroppedMax);
      return rows.filter((row) => reachOf(row) <= reach).map(({ key }) => ({ kind: "delete", key }));
    } finally {
      cursor.close();
    }
  }

  /** The same in the background; what fails is told to `warn` and harms nobody. */
  writeSoon(decider: AnyDecider, policy: SnapshotPolicy<unknown>, streamName: string, kept: StateToKeep): void {
    if (this.#writing.size >= backgroundSnapshotsMax) return;
    const writing = this.write(decider, policy, streamName, kept)
      .catch((error: unknown) => this.#core.warn(error))
      .finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
  }
}
