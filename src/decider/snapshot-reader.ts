/**
 * Finds the snapshots of states that a store keeps. They are a cache: one that is damaged, or does not fit, is told to `warn` and
 * ignored; one of another version is never looked at. Writes nothing, so replicas read by it as well.
 */

import { EventStoreError } from "../errors.ts";
import { snapshotKey } from "../format/key-families.ts";
import { decodeSnapshot, type Snapshot } from "../format/snapshot.ts";
import type { StreamInfo } from "../log/event-store.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { checkBySchema } from "../schema/check-by-schema.ts";
import type { AnyDecider, SnapshotPolicy } from "./define-decider.ts";

/** Where loads look for a snapshot to begin from. */
export interface SnapshotFinder {
  /** How many subjects had been forgotten (`StoreCore.erasures`); 0 where nothing is kept that is loaded. */
  readonly erasures: number;
  /** The stream's snapshot, where there is one that fits. `past`: the stream is seen as of a moment, which it may reach beyond. */
  find(
    decider: AnyDecider,
    policy: SnapshotPolicy<unknown>,
    stream: StreamInfo,
    past: boolean,
  ): Promise<Snapshot | undefined>;
}

export class SnapshotReader implements SnapshotFinder {
  readonly erasures: number = 0;
  readonly #rows: Pick<StoreCore["rows"], "get">;
  readonly #warn: (error: unknown) => void;

  constructor(rows: Pick<StoreCore["rows"], "get">, warn: (error: unknown) => void) {
    this.#rows = rows;
    this.#warn = warn;
  }

  async find(
    decider: AnyDecider,
    policy: SnapshotPolicy<unknown>,
    stream: StreamInfo,
    past: boolean,
  ): Promise<Snapshot | undefined> {
    const key = snapshotKey(stream.streamName, decider.name, policy.version);
    const value = await this.#rows.get(key);
    if (value === undefined) return undefined;
    try {
      const snapshot = decodeSnapshot({ key, value });
      if (past && snapshot.position > stream.lastPosition) return undefined;
      if (snapshot.streamVersion > stream.version || snapshot.position > stream.lastPosition)
        return this.#ignore(
          decider,
          stream.streamName,
          `it is of version ${snapshot.streamVersion}, the stream is not`,
        );
      if (policy.schema === undefined) return snapshot;
      const checked = checkBySchema(policy.schema, snapshot.state, "state");
      if ("value" in checked) return { ...snapshot, state: checked.value };
      const [issue] = checked.issues;
      return this.#ignore(decider, stream.streamName, `${issue?.path ?? "state"}: ${issue?.message ?? "is not valid"}`);
    } catch (cause) {
      if (cause instanceof EventStoreError && cause.code !== "storage-corrupt") throw cause;
      return this.#ignore(decider, stream.streamName, "it is damaged", cause);
    }
  }

  #ignore(decider: AnyDecider, streamName: string, why: string, cause?: unknown): undefined {
    const message = `A snapshot of ${JSON.stringify(streamName)} for ${JSON.stringify(decider.name)} is ignored: ${why}`;
    this.#warn(new Error(message, { cause }));
    return undefined;
  }
}
