/** Builds what the layers above the log get of an open store, and keeps its header true: which families are in use. */

import { cacheFamilies, type LaterFamily, storeHeaderKey, type UpperFamily } from "../format/key-families.ts";
import { encodeStoreHeader, type StoreHeader } from "../format/records.ts";
import type { KeyValueStore, KvReader } from "../kv/kv.ts";
import type { ObjectAccess } from "../kv/objects.ts";
import { prepareCommit } from "../log/commit.ts";
import type { CommitExtras } from "../log/commit-extras.ts";
import type { CommitPipeline } from "../log/commit-pipeline.ts";
import type { Erasures } from "../log/erasures.ts";
import type { IdempotencyKeys } from "../log/idempotency-keys.ts";
import type { RecentLog } from "../log/recent-log.ts";
import type { RetentionRules } from "../log/retention-rules.ts";
import { submitSealed } from "../log/sealed-commits.ts";
import type { CoreCommit, CoreCommitResult, StoreCore } from "../log/store-internals.ts";
import type { StoreReader } from "../log/store-reader.ts";
import type { Clock } from "../runtime/clock.ts";
import type { IdSource } from "../runtime/ids.ts";
import type { Random } from "../runtime/random.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { Subscriptions } from "../subscriptions/subscriptions.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";

export interface CoreParts {
  readonly kv: KeyValueStore;
  readonly header: StoreHeader;
  readonly reader: StoreReader;
  readonly subscriptions: Subscriptions;
  readonly pipeline: CommitPipeline;
  readonly keys: IdempotencyKeys;
  readonly recent: RecentLog;
  readonly rules: RetentionRules;
  readonly objects: () => Promise<ObjectAccess>;
  readonly registry: EventRegistry;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly random: Random;
  readonly timeoutMs: number;
  readonly erasures: Erasures;
  readonly onError: (error: unknown) => void;
  /** Filled by the layers above; run when the store closes. */
  readonly closeHooks: (() => Promise<void> | void)[];
  /** Throws where the store is closed, fenced or has failed. */
  readonly assertUsable: () => void;
}

type NotedFamily = UpperFamily | LaterFamily;

/** Commits without events that rewrite the header when a family is used for the first time, one after another. */
class HeaderKeeper {
  readonly #submit: StoreCore["submit"];
  #header: StoreHeader;
  #last: Promise<void> = Promise.resolve();

  constructor(header: StoreHeader, submit: StoreCore["submit"]) {
    this.#header = header;
    this.#submit = submit;
  }

  lists(family: NotedFamily): boolean {
    return this.#missing([family]).length === 0;
  }

  async use(families: readonly NotedFamily[]): Promise<void> {
    if (this.#missing(families).length === 0) return;
    const noting = this.#last.then(() => this.#note(families));
    this.#last = noting.catch(() => {});
    await noting;
  }

  #missing(families: readonly NotedFamily[]): readonly NotedFamily[] {
    const listed = new Set([...this.#header.families, ...(this.#header.cacheFamilies ?? [])]);
    return families.filter((family) => !listed.has(family));
  }

  async #note(families: readonly NotedFamily[]): Promise<void> {
    const missing = this.#missing(families);
    if (missing.length === 0) return;
    const caches = missing.filter((family) => cacheFamilies.includes(family));
    const needed = missing.filter((family) => !cacheFamilies.includes(family));
    const header: StoreHeader = {
      ...this.#header,
      families: [...this.#header.families, ...needed],
      ...(caches.length === 0 ? {} : { cacheFamilies: [...(this.#header.cacheFamilies ?? []), ...caches] }),
    };
    await this.#submit({ rows: [{ kind: "put", key: storeHeaderKey, value: encodeStoreHeader(header) }] });
    this.#header = header;
  }
}

function extrasOf({ rows, maintenance, heads, guard, system }: CoreCommit): CommitExtras {
  return {
    ...(rows === undefined ? {} : { rows }),
    ...(maintenance === undefined ? {} : { maintenance }),
    ...(heads === undefined ? {} : { heads }),
    ...(guard === undefined ? {} : { guard }),
    ...(system === undefined ? {} : { system }),
  };
}

/** Handed out as plain reads: whoever has them cannot write past the pipeline. */
function readsOf(kv: KeyValueStore): KvReader {
  return {
    get: (key) => kv.get(key),
    getMany: (keys) => kv.getMany(keys),
    scan: (range, purpose) => kv.scan(range, purpose),
  };
}

export function buildCore(parts: CoreParts): StoreCore {
  const { kv, reader, subscriptions, pipeline, keys, registry } = parts;
  const submit = async (commit: CoreCommit): Promise<CoreCommitResult> => {
    const { rows: _r, maintenance: _m, heads: _h, guard: _g, system: _s, ...request } = commit;
    const prepared = prepareCommit({ appends: [], ...request }, registry, false, extrasOf(commit));
    const { record, replayed } = await submitSealed(pipeline, registry, prepared);
    const events = (): readonly RecordedEvent[] => {
      if (replayed) return [];
      let position = record.position - prepared.eventCount;
      return prepared.appends.flatMap(({ streamName, events: own }, index) => {
        let version = (record.streams[index]?.streamVersion ?? 0) - own.length;
        return own.flatMap(({ bytes }) => {
          version += 1;
          position += 1;
          return registry.read({ streamName, version, position, bytes });
        });
      });
    };
    return { record, replayed, events };
  };
  const afterCommit: Parameters<StoreCore["addAfterCommit"]>[0][] = [];
  const forgetHooks: Parameters<StoreCore["onForget"]>[0][] = [];
  const keeper = new HeaderKeeper(parts.header, submit);
  let maintained: Promise<unknown> = Promise.resolve();
  return {
    submit,
    rows: readsOf(kv),
    inMaintenance: (work) => {
      const working = maintained.then(work);
      maintained = working.catch(() => {});
      return working;
    },
    reclaim: async (options) => await kv.reclaim?.(options),
    useFamilies: (families) => keeper.use(families),
    usesFamily: (family) => keeper.lists(family),
    findByKey: async (key) => (await keys.find([key])).get(key),
    addAfterCommit: (hook) => {
      afterCommit.push(hook);
      pipeline.setAfterCommit((stored) => {
        let decoded: readonly RecordedEvent[] | undefined;
        const events = (): readonly RecordedEvent[] => {
          decoded ??= stored.flatMap((event) => registry.read(event));
          return decoded;
        };
        const waits = afterCommit.flatMap((one) => one(events) ?? []);
        return waits.length === 0 ? undefined : Promise.all(waits).then(() => {});
      });
    },
    addDecorator: (decorator) => pipeline.addDecorator(decorator),
    reader: reader.view<never>(async () => pipeline.end.lastPosition),
    readerAt: (position) => reader.view<never>(async () => Math.min(position, pipeline.end.lastPosition)),
    stored: (from, to, filter, signal) =>
      filter === undefined ? subscriptions.stored(from, to, signal) : reader.stored(from, to, filter),
    decode: (stored) => subscriptions.decode(stored),
    grown: (position, signal) => subscriptions.grown(position, signal),
    lastPosition: () => pipeline.end.lastPosition,
    positionAt: (timeMs) => reader.positionAt(timeMs),
    storedStream: (streamName, from, to) => reader.storedStream(streamName, from, to),
    streamVersionAt: (streamName, position) => reader.streamVersionAt(streamName, position),
    truncatedBehind: (streamName, position) => reader.truncatedBehind(streamName, position),
    forget: (positions) => {
      parts.recent.drop(positions);
      const gone = new Set(positions);
      for (const hook of forgetHooks) hook(gone);
    },
    onForget: (hook) => {
      forgetHooks.push(hook);
    },
    rules: parts.rules,
    objects: parts.objects,
    assertOpen: parts.assertUsable,
    registry,
    clock: parts.clock,
    ids: parts.ids,
    random: parts.random,
    timeoutMs: parts.timeoutMs,
    warn: (error) => {
      try {
        parts.onError(error);
      } catch {
        // There is nobody left to tell.
      }
    },
    erasures: parts.erasures,
    onClose: (hook) => {
      parts.closeHooks.push(hook);
    },
  };
}
