/**
 * Gives back what deleted rows still occupy. In service the engine merges tables of like sizes, keeps what it replaced for a
 * quarter of an hour, and collects it only once newer tables have followed; so deleted bytes may stay for as long as the store.
 * The recipe: merge everything into one run, wait for the engine's checkpoint to end, have a newer table, wait for a collection.
 * While it merges, every flush would have it merge everything again: so it goes back to service before it waits.
 */

import { randomBytes } from "node:crypto";
import { StorageUnavailableError } from "../errors.ts";
import type { Clock } from "../runtime/clock.ts";
import { pause } from "../runtime/deadline.ts";
import type { KvOperation, ReclaimOptions, ReclaimPhase, ReclaimReport } from "./kv.ts";
import type { ObjectEntry } from "./objects.ts";
import type { SlateTuning } from "./slatedb-settings.ts";

/** What the engine says of its tables. */
export interface MergeState {
  readonly l0Tables: number;
  readonly running: number;
  readonly bytesMerged: number;
}

/** The storage below the store, as it is listed. */
export interface ReclaimPlace {
  list(prefix: string): AsyncIterable<ObjectEntry>;
}

export interface ReclaimHost {
  /**
   * Whether nobody else has the database open, as far as can be known. A writer that was replaced and stands still relies on fences
   * being kept for as long as the settings of its place say.
   */
  alone(): Promise<boolean>;
  exchange(tuning: SlateTuning): Promise<void>;
  write(operations: readonly KvOperation[]): Promise<void>;
  /** Makes a table of what is in memory. */
  flush(): Promise<void>;
  mergeState(): MergeState;
}

export interface ReclaimRun extends ReclaimOptions {
  readonly host: ReclaimHost;
  readonly place: ReclaimPlace | undefined;
  readonly tuning: SlateTuning;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Behind every key that anybody scans for: the one row here that is the adapter's own. */
const markerKey: Uint8Array = Uint8Array.of(0xff, 0xff);

/** The engine keeps what a merge replaced for so long, whatever its settings say. */
const checkpointLifeMs = 15 * 60_000;
/** Fences and old tables go at this age while space is given back, if the store's settings do not say less. */
const collectAgeMs = 10 * 60_000;
const collectIntervalMs = 60_000;
/** So long after the end of the checkpoint everything should be gone; what is not is held by a replica's checkpoint. */
const graceMs = 10 * 60_000;
const mergePollMs = 1_000;
/** A merge is over when the engine has had nothing to do for so many looks. */
const quietLooks = 3;
/** A newer table is made again at this interval, until all that was replaced is gone. */
const markIntervalMs = 2 * 60_000;
const lookMs = 5_000;

/** Everything into one run: any two tables or runs are worth merging, whatever their sizes. Never less than two of them. */
const mergeEverything = {
  min_compaction_sources: "2",
  max_compaction_sources: "1000",
  include_size_threshold: "1000000",
} as const;

/** Below what the engine would flush by itself (4,096 logs), and below what the store takes before it stops. */
const rarelyFlushed = {
  memtableFlushGroups: 3_500,
  memtableFlushBytes: 128 * 1024 * 1024,
  memtablePaceBytes: 160 * 1024 * 1024,
} as const;

interface Objects {
  readonly sizes: ReadonlyMap<string, number>;
  readonly bytes: number;
}

export class Reclaim {
  readonly #run: ReclaimRun;
  readonly #startedMs: number;

  constructor(run: ReclaimRun) {
    this.#run = run;
    this.#startedMs = run.clock.monotonic();
  }

  async run(): Promise<ReclaimReport> {
    const { place, tuning, host, clock } = this.#run;
    if (place === undefined) return this.#report(await this.#objects(), await this.#objects(), 0);
    if (!(await host.alone())) {
      const message = "Another process still has the store open, perhaps a writer that was replaced: it must end first";
      throw new StorageUnavailableError(message, { outcome: "not-applied" });
    }
    const before = await this.#objects();
    const ages = {
      garbageMinAgeMs: Math.min(tuning.garbageMinAgeMs, collectAgeMs),
      garbageIntervalMs: Math.min(tuning.garbageIntervalMs, collectIntervalMs),
    };
    try {
      await host.exchange({
        ...tuning,
        ...ages,
        manifestPollMs: mergePollMs,
        compactorPollMs: mergePollMs,
        schedulerOptions: mergeEverything,
        // Each flush would have everything merged once more.
        ...rarelyFlushed,
      });
      const replaced = await this.#merge();
      const mergedMs = clock.monotonic();
      await host.exchange({ ...tuning, ...ages });
      const left = await this.#collect(replaced, mergedMs);
      return this.#report(before, await this.#objects(), left);
    } finally {
      // Also where it was interrupted. A store that is closed meanwhile stays as it is.
      await host.exchange(tuning).catch((error: unknown) => {
        if (!this.#run.signal.aborted) throw error;
      });
    }
  }

  /** Merges everything; the objects that were there before and are in no table any more. */
  async #merge(): Promise<Objects> {
    const { host, signal } = this.#run;
    // Two tables at least, or there would be nothing to merge with a single run.
    for (let tables = 0; tables < 2; tables += 1) await this.#mark();
    const replaced = await this.#objects();
    let bytesMerged = -1;
    for (let quiet = 0; quiet < quietLooks; ) {
      this.#tell("merging", replaced, undefined);
      await pause(mergePollMs, signal);
      signal.throwIfAborted();
      const now = host.mergeState();
      const idle = now.running === 0 && now.l0Tables < 2 && now.bytesMerged === bytesMerged;
      quiet = idle ? quiet + 1 : 0;
      bytesMerged = now.bytesMerged;
    }
    return replaced;
  }

  /** Waits until what was replaced is gone; how many objects of it are still there after the longest wait. */
  async #collect(replaced: Objects, mergedMs: number): Promise<number> {
    const { clock, signal, waitMaxMs = checkpointLifeMs + graceMs } = this.#run;
    let markAtMs = mergedMs + checkpointLifeMs;
    for (;;) {
      const now = await this.#objects();
      const left = [...replaced.sizes.keys()].filter((name) => now.sizes.has(name));
      const waitedMs = clock.monotonic() - mergedMs;
      const bytes = left.reduce((sum, name) => sum + (replaced.sizes.get(name) ?? 0), 0);
      this.#tell(waitedMs < checkpointLifeMs ? "waiting" : "collecting", { ...now, bytes }, waitMaxMs - waitedMs, left);
      if (left.length === 0 || waitedMs >= waitMaxMs) return left.length;
      if (clock.monotonic() >= markAtMs) {
        await this.#mark();
        markAtMs = clock.monotonic() + markIntervalMs;
      }
      await pause(Math.min(lookMs, Math.max(1, waitMaxMs - waitedMs)), signal);
      signal.throwIfAborted();
    }
  }

  async #mark(): Promise<void> {
    const { host } = this.#run;
    await host.write([{ kind: "put", key: markerKey, value: randomBytes(8) }]);
    await host.flush();
  }

  async #objects(): Promise<Objects> {
    const sizes = new Map<string, number>();
    let bytes = 0;
    for (const folder of ["db/compacted/", "db/wal/"]) {
      for await (const { name, size } of this.#run.place?.list(folder) ?? []) {
        sizes.set(name, size);
        bytes += size;
      }
    }
    return { sizes, bytes };
  }

  #tell(phase: ReclaimPhase, objects: Objects, waitMs: number | undefined, left?: readonly string[]): void {
    this.#run.onProgress?.({
      phase,
      objectsLeft: left?.length ?? objects.sizes.size,
      bytesLeft: objects.bytes,
      ...(waitMs === undefined ? {} : { waitMsMax: Math.max(0, Math.round(waitMs)) }),
    });
  }

  #report(before: Objects, after: Objects, objectsLeft: number): ReclaimReport {
    return {
      objectsBefore: before.sizes.size,
      bytesBefore: before.bytes,
      objectsAfter: after.sizes.size,
      bytesAfter: after.bytes,
      objectsLeft,
      elapsedMs: Math.round(this.#run.clock.monotonic() - this.#startedMs),
    };
  }
}
