/**
 * The part of a pass that drops events: what rules of retention, truncation, archiving and deletion have marked. Streams with
 * events to drop are in a list by the time when that is due, so that a pass looks at nothing else. Whatever it does is done in
 * bounded batches, and the list forgets a stream only in the commit that ends the work on it. An object of the archive goes
 * behind the commit that removes its row: so no row names an object that was removed.
 */

import { reachOf } from "../decider/snapshots.ts";
import { StorageCorruptError } from "../errors.ts";
import { archivePrefixOf, lastVersionOfArchiveObject } from "../format/archive-object.ts";
import type { DropReason } from "../format/dropped.ts";
import { decodeHeadExtension, type HeadExtension } from "../format/head-extension.ts";
import { snapshotSpan, streamHeadKey } from "../format/key-families.ts";
import {
  archivePartKey,
  archivePartSpan,
  dueStreamOfKey,
  dueStreamSpan,
  lastVersionOfArchivePartKey,
} from "../format/lifecycle-keys.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvOperation, KvRow } from "../kv/kv.ts";
import type { HeadChange } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { dropEvents, type StreamDrop } from "./event-dropper.ts";
import type { LifecyclePass, LifecycleStep, TouchedStream } from "./lifecycle-step.ts";
import { markByRules, markStream } from "./rule-marker.ts";
import { dueStreamRow } from "./stream-lifecycle.ts";

/** Entries of the list that are worked on at once. */
const dueAtOnce = 128;
/** In the background a stream that has fewer events to drop than this waits: a page is rewritten a few times only. */
const worthDropping = 256;
/** Until when such a stream waits at most, and one that is damaged. */
const putOffMs: number = 24 * 60 * 60 * 1_000;
/** How often rules by age are looked at where nothing is appended: at a part of the shortest age, within these bounds. */
const ageLooks = 20;
const ageLookMsMin = 60_000;
const ageLookMsMax = 3_600_000;

interface Due {
  readonly streamName: string;
  readonly keys: readonly Uint8Array[];
}

/** What of a stream is dropped, and the objects of its archive that go behind the commit which removes their rows. */
interface DueDrop {
  readonly drop: StreamDrop;
  /** The objects that hold versions before this one only, if there may be any; then the entry in the list outlives them. */
  readonly objectsBefore: number | undefined;
}

/** The head of a stream in the list, as it is when its turn comes. */
interface DueHead extends Due {
  readonly head: StreamHead;
  readonly extension: HeadExtension;
}

export class RetentionStep implements LifecycleStep {
  readonly name = "retention";
  readonly #core: StoreCore;
  #nextDueMs: number;
  #nextAgeLookMs = 0;

  constructor(core: StoreCore) {
    this.#core = core;
    this.#nextDueMs = core.usesFamily("retention") ? 0 : Number.POSITIVE_INFINITY;
  }

  /** A stream has events to drop from then on. */
  noteDue(dueAtMs: number): void {
    this.#nextDueMs = Math.min(this.#nextDueMs, dueAtMs);
  }

  dueAtMs(): number | undefined {
    const byAge = this.#shortestAgeMs() === undefined ? Number.POSITIVE_INFINITY : this.#nextAgeLookMs;
    const dueAtMs = Math.min(this.#nextDueMs, byAge);
    return Number.isFinite(dueAtMs) ? dueAtMs : undefined;
  }

  async begin(pass: LifecyclePass): Promise<void> {
    if (!this.#core.usesFamily("retention")) return;
    const nowMs = this.#core.clock.now();
    await markByRules(pass, pass.full || nowMs >= this.#nextAgeLookMs);
    const shortest = this.#shortestAgeMs() ?? Number.POSITIVE_INFINITY;
    this.#nextAgeLookMs = nowMs + Math.min(ageLookMsMax, Math.max(ageLookMsMin, shortest / ageLooks));
    await this.#dropDue(pass);
  }

  /** Retention by count is judged with each append; here the streams that it has taken from come into the list. */
  async streams(streams: readonly TouchedStream[], pass: LifecyclePass): Promise<void> {
    // A rule that took something may be gone by now, so it is the heads that are asked.
    if (!this.#core.usesFamily("retention")) return;
    const nowMs = this.#core.clock.now();
    const rows: KvOperation[] = [];
    for (const { streamName, head, extension } of await this.#headsOf(streams.map(dueOf))) {
      const pending = head.truncatedBefore - (extension.droppedBefore ?? 1);
      if (pending <= 0) continue;
      const later = Math.ceil((nowMs + putOffMs) / putOffMs) * putOffMs;
      rows.push(dueStreamRow(pass.full || pending >= worthDropping ? nowMs : later, streamName));
    }
    if (rows.length === 0) return;
    await pass.commit({ rows });
    this.noteDue(nowMs);
  }

  async end(pass: LifecyclePass): Promise<void> {
    if (this.#nextDueMs <= this.#core.clock.now()) await this.#dropDue(pass);
  }

  #shortestAgeMs(): number | undefined {
    let shortest: number | undefined;
    for (const { maxAgeMs } of this.#core.rules.list()) {
      if (maxAgeMs !== undefined) shortest = Math.min(shortest ?? maxAgeMs, maxAgeMs);
    }
    return shortest;
  }

  async #dropDue(pass: LifecyclePass): Promise<void> {
    const nowMs = this.#core.clock.now();
    this.#nextDueMs = Number.POSITIVE_INFINITY;
    try {
      await this.#dropAllDue(pass, nowMs);
    } catch (error) {
      // Whatever it was broken off by, the rest is due still.
      this.noteDue(nowMs);
      throw error;
    }
  }

  async #dropAllDue(pass: LifecyclePass, nowMs: number): Promise<void> {
    let after: Uint8Array | undefined;
    for (;;) {
      const { due, last, laterMs } = await this.#readDue(nowMs, after);
      if (laterMs !== undefined) this.noteDue(laterMs);
      if (due.length > 0) await this.#work(pass, due, nowMs);
      if (last === undefined || laterMs !== undefined) return;
      after = last;
    }
  }

  /** The next entries of the list that are due; `laterMs`: when the first of the others is. */
  async #readDue(
    nowMs: number,
    after: Uint8Array | undefined,
  ): Promise<{ readonly due: readonly Due[]; readonly last?: Uint8Array; readonly laterMs?: number }> {
    const byStream = new Map<string, Uint8Array[]>();
    const start = after === undefined ? dueStreamSpan.start : Buffer.concat([after, Buffer.of(0)]);
    const cursor = await this.#core.rows.scan({ start, end: dueStreamSpan.end }, "lookup");
    try {
      const rows = await cursor.next(dueAtOnce);
      let last: Uint8Array | undefined;
      for (const { key } of rows) {
        const { dueAtMs, streamName } = dueStreamOfKey(key);
        if (dueAtMs > nowMs) return { due: duesOf(byStream), laterMs: dueAtMs };
        byStream.set(streamName, [...(byStream.get(streamName) ?? []), key]);
        last = key;
      }
      const due = duesOf(byStream);
      return rows.length < dueAtOnce || last === undefined ? { due } : { due, last };
    } finally {
      cursor.close();
    }
  }

  /** Drops all that is due of these streams. */
  async #work(pass: LifecyclePass, due: readonly Due[], nowMs: number): Promise<void> {
    for (const { streamName } of due) {
      if (this.#core.rules.get("stream", streamName) !== undefined) await markStream(pass, streamName);
    }
    await this.#purge(pass, await this.#headsOf(due), nowMs);
    for (let left = due; left.length > 0; ) {
      const drops: StreamDrop[] = [];
      const archived = new Map<StreamDrop, { readonly due: Due; readonly before: number }>();
      const found = await this.#headsOf(left);
      const unknown = left.filter(({ streamName }) => !found.some((one) => one.streamName === streamName));
      for (const one of found) {
        const planned = await orPutOff(pass, one, nowMs, () => this.#dropOf(one));
        if (planned === undefined) continue;
        drops.push(planned.drop);
        if (planned.objectsBefore !== undefined)
          archived.set(planned.drop, { due: one, before: planned.objectsBefore });
      }
      await forget(pass, unknown);
      const { done, more, damaged } = await dropEvents(pass, drops);
      for (const drop of done) {
        const objects = archived.get(drop);
        if (objects !== undefined) await this.#dropObjects(pass, objects.due, objects.before);
      }
      for (const { drop, error } of damaged) {
        const due = left.find(({ streamName }) => streamName === drop.head.streamName);
        if (due !== undefined) await putOff(pass, due, nowMs, error);
      }
      // What is neither done nor to be gone on with has moved under an append: it stays in the list for the next pass.
      if (done.length + more.length + damaged.length < drops.length) this.noteDue(nowMs);
      const open = new Set(more.map(({ head }) => head.streamName));
      left = left.filter(({ streamName }) => open.has(streamName));
    }
  }

  async #headsOf(due: readonly Due[]): Promise<readonly DueHead[]> {
    const values = await this.#core.rows.getMany(due.map(({ streamName }) => streamHeadKey(streamName)));
    return due.flatMap((one, index) => {
      const value = values[index];
      if (value === undefined) return [];
      try {
        const head = decodeStreamHead(one.streamName, value);
        return [{ ...one, head, extension: decodeHeadExtension(head.extension) }];
      } catch (error) {
        if (!(error instanceof StorageCorruptError)) throw error;
        this.#core.warn(error);
        return [];
      }
    });
  }

  /** Says of deleted streams whose time is over that they cannot be had back, before anything of them is dropped. */
  async #purge(pass: LifecyclePass, found: readonly DueHead[], nowMs: number): Promise<void> {
    const heads = found
      .filter(({ extension: { tombstone } }) => tombstone !== undefined && !tombstone.purged)
      .map(
        ({ streamName }): HeadChange => ({
          streamName,
          change: ({ extension }) => {
            const { tombstone } = extension;
            if (tombstone === undefined || tombstone.purged || tombstone.undeletableUntilMs > nowMs) return undefined;
            return { extension: { ...extension, tombstone: { ...tombstone, purged: true } } };
          },
        }),
      );
    if (heads.length > 0) await pass.commit({ heads });
  }

  async #dropOf({ streamName, keys, head, extension }: DueHead): Promise<DueDrop> {
    const { tombstone, archive, droppedBefore: from = 1, reason = "truncated" } = extension;
    const purged = tombstone?.purged === true;
    const goneBefore = purged ? head.version + 1 : head.truncatedBefore;
    const before = Math.max(from, goneBefore, archive?.before ?? 0);
    const reasonOf = (version: number): DropReason => {
      if (purged) return "deleted";
      return version < head.truncatedBefore ? reason : "archived";
    };
    const hasObjects = archive !== undefined && goneBefore > archive.from;
    const rowsWhenDone: KvOperation[] = hasObjects ? [] : keys.map((key) => ({ kind: "delete", key }));
    if (hasObjects) rowsWhenDone.push(...(await this.#archiveRows(streamName, goneBefore)));
    rowsWhenDone.push(...(await this.#unusableSnapshots(streamName, purged, goneBefore)));
    const drop = { head, extension, from, before, reasonOf, rowsWhenDone };
    return { drop, objectsBefore: hasObjects ? goneBefore : undefined };
  }

  /** The rows of the archive's objects whose events are gone for good. */
  async #archiveRows(streamName: string, goneBefore: number): Promise<readonly KvOperation[]> {
    const operations: KvOperation[] = [];
    for await (const { key } of rowsOf(this.#core, archivePartSpan(streamName, 1))) {
      const to = lastVersionOfArchivePartKey(key);
      if (to >= goneBefore) break;
      operations.push({ kind: "delete", key: archivePartKey(streamName, to) });
    }
    return operations;
  }

  /**
   * Removes objects that no row names any more, then takes the stream out of the list. Found by their names, not by rows: a pass
   * that was broken off in between has left objects without rows, and the entry by which the next one comes here again.
   */
  async #dropObjects(pass: LifecyclePass, due: Due, before: number): Promise<void> {
    const objects = await this.#core.objects();
    const gone: string[] = [];
    for await (const { name } of objects.list(archivePrefixOf(due.streamName))) {
      const last = lastVersionOfArchiveObject(name);
      if (last !== undefined && last < before) gone.push(name);
    }
    for (const name of gone) {
      await objects.delete(name);
      await pass.breathe();
    }
    await forget(pass, [due]);
  }

  /** Snapshots that nobody can go on from: events behind them are gone. */
  async #unusableSnapshots(streamName: string, purged: boolean, goneBefore: number): Promise<readonly KvOperation[]> {
    if (!this.#core.usesFamily("snapshots") || goneBefore <= 1) return [];
    const operations: KvOperation[] = [];
    for await (const row of rowsOf(this.#core, snapshotSpan(streamName))) {
      if (!purged && reachOf(row) >= goneBefore - 1) continue;
      operations.push({ kind: "delete", key: row.key });
    }
    return operations;
  }
}

const dueOf = ({ streamName }: TouchedStream): Due => ({ streamName, keys: [] });

function duesOf(byStream: ReadonlyMap<string, readonly Uint8Array[]>): readonly Due[] {
  return [...byStream].map(([streamName, keys]) => ({ streamName, keys }));
}

async function* rowsOf(core: StoreCore, span: { readonly start: Buffer; readonly end: Buffer }): AsyncGenerator<KvRow> {
  const cursor = await core.rows.scan(span, "lookup");
  try {
    for (let rows = await cursor.next(16); rows.length > 0; rows = await cursor.next(16)) yield* rows;
  } finally {
    cursor.close();
  }
}

/** Takes entries out of the list: the streams are not there, or nothing of them is left to be done. */
async function forget(pass: LifecyclePass, due: readonly Due[]): Promise<void> {
  const rows = due.flatMap(({ keys }) => keys.map((key): KvOperation => ({ kind: "delete", key })));
  if (rows.length > 0) await pass.commit({ rows });
}

async function orPutOff<T>(
  pass: LifecyclePass,
  due: Due,
  nowMs: number,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StorageCorruptError)) throw error;
    await putOff(pass, due, nowMs, error);
    return undefined;
  }
}

/** A stream that is damaged is told of, and comes again another day: the others must not wait for it. */
async function putOff(pass: LifecyclePass, { streamName, keys }: Due, nowMs: number, error: unknown): Promise<void> {
  pass.core.warn(error);
  const rows = keys.map((key): KvOperation => ({ kind: "delete", key }));
  await pass.commit({ rows: [...rows, dueStreamRow(nowMs + putOffMs, streamName)] });
}
