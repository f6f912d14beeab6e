/**
 * The part of a pass that drops events: what rules of retention, truncation, archiving and deletion have marked. Streams with
 * events to drop are in a list by the time when that is due, so that a pass looks at nothing else. Whatever it does is done in
 * bounded batches, and the list forgets a stream only in the commit that ends the work on it. An object of the archive goes
 * behind the commit that removes its row: so no row names an object that was removed.
 */

import { StorageCorruptError } from "../errors.ts";
import { archivePrefixOf, lastVersionOfArchiveObject } from "../format/archive-object.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { HeadChange } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { type DropPlan, planDrop } from "./drop-plan.ts";
import { type Due, type DueHead, headsOf, putOff, readDue, strikeOff } from "./due-streams.ts";
import { dropEvents, type StreamDrop } from "./event-dropper.ts";
import type { LifecyclePass, LifecycleStep, TouchedStream } from "./lifecycle-step.ts";
import { markByRules, markStream } from "./rule-marker.ts";
import { dueStreamRow } from "./stream-lifecycle.ts";

/** In the background a stream that has fewer events to drop than this waits: a page is rewritten a few times only. */
const worthDropping = 256;
/** Until when such a stream waits at most, and one that is damaged. */
const putOffMs: number = 24 * 60 * 60 * 1_000;
/** How often rules by age are looked at where nothing is appended: at a part of the shortest age, within these bounds. */
const ageLooks = 20;
const ageLookMsMin = 60_000;
const ageLookMsMax = 3_600_000;

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
    const { found, damaged } = await headsOf(this.#core, streams.map(dueOf));
    for (const { error } of damaged) this.#core.warn(error);
    for (const { streamName, head, extension } of found) {
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
      const { due, last, laterMs } = await readDue(this.#core, nowMs, after);
      if (laterMs !== undefined) this.noteDue(laterMs);
      if (due.length > 0) await this.#work(pass, due, nowMs);
      if (last === undefined || laterMs !== undefined) return;
      after = last;
    }
  }

  /** Drops all that is due of these streams. */
  async #work(pass: LifecyclePass, due: readonly Due[], nowMs: number): Promise<void> {
    for (const { streamName } of due) {
      if (this.#core.rules.get("stream", streamName) !== undefined) await markStream(pass, streamName);
    }
    const found = await this.#found(pass, due, nowMs);
    await purge(pass, found, nowMs);
    for (let left: readonly Due[] = found; left.length > 0; ) left = await this.#dropBatch(pass, left, nowMs);
  }

  /** The heads of these streams; what is not there leaves the list, and what is damaged comes again another day. */
  async #found(pass: LifecyclePass, due: readonly Due[], nowMs: number): Promise<readonly DueHead[]> {
    const { found, gone, damaged } = await headsOf(this.#core, due);
    for (const one of damaged) await this.#putOff(pass, one.due, nowMs, one.error);
    await strikeOff(pass, gone);
    return found;
  }

  async #putOff(pass: LifecyclePass, due: Due, nowMs: number, error: unknown): Promise<void> {
    await putOff(pass, due, nowMs + putOffMs, error);
    this.noteDue(nowMs + putOffMs);
  }

  /** Drops of these streams what one batch takes; answers those of which there is more. */
  async #dropBatch(pass: LifecyclePass, due: readonly Due[], nowMs: number): Promise<readonly Due[]> {
    const plans = new Map<StreamDrop, DropPlan & { readonly due: Due }>();
    for (const one of await this.#found(pass, due, nowMs)) {
      try {
        const plan = await planDrop(this.#core, one);
        plans.set(plan.drop, { ...plan, due: one });
      } catch (error) {
        if (!(error instanceof StorageCorruptError)) throw error;
        await this.#putOff(pass, one, nowMs, error);
      }
    }
    const { done, more, damaged } = await dropEvents(pass, [...plans.keys()]);
    for (const drop of done) {
      const plan = plans.get(drop);
      if (plan?.objectsBefore !== undefined) await dropObjects(pass, plan.due, plan.objectsBefore);
    }
    for (const { drop, error } of damaged) {
      const plan = plans.get(drop);
      if (plan !== undefined) await this.#putOff(pass, plan.due, nowMs, error);
    }
    // What is neither done nor to be gone on with has moved under an append: it stays in the list for the next pass.
    if (done.length + more.length + damaged.length < plans.size) this.noteDue(nowMs);
    const open = new Set(more.map(({ head }) => head.streamName));
    return due.filter(({ streamName }) => open.has(streamName));
  }
}

const dueOf = ({ streamName }: TouchedStream): Due => ({ streamName, keys: [] });

/** Says of deleted streams whose time is over that they cannot be had back, before anything of them is dropped. */
async function purge(pass: LifecyclePass, found: readonly DueHead[], nowMs: number): Promise<void> {
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

/**
 * Removes objects that no row names any more, then takes the stream out of the list. Found by their names, not by rows: a pass
 * that was broken off in between has left objects without rows, and the entry by which the next one comes here again.
 */
async function dropObjects(pass: LifecyclePass, due: Due, before: number): Promise<void> {
  const objects = await pass.core.objects();
  const gone: string[] = [];
  for await (const { name } of objects.list(archivePrefixOf(due.streamName))) {
    const last = lastVersionOfArchiveObject(name);
    if (last !== undefined && last < before) gone.push(name);
  }
  for (const name of gone) {
    await objects.delete(name);
    await pass.breathe();
  }
  await strikeOff(pass, [due]);
}
