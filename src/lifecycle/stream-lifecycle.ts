/**
 * What a user does to one stream as a whole: truncate, delete, take a deletion back. Each is one commit that changes the
 * stream's head, notes the stream as one with events to drop, and records itself as an event of the store's own. Readers and
 * writers see it at once; the events themselves are dropped behind it by the compactor. Repeating one changes nothing.
 */

import { checkMetadataOption, withOutcomeOf } from "../decider/common.ts";
import { ConflictError, InvalidArgumentError, printable, StreamDeletedError } from "../errors.ts";
import type { HeadExtension } from "../format/head-extension.ts";
import { dueStreamKey } from "../format/lifecycle-keys.ts";
import { encodeDueStream } from "../format/lifecycle-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import type { HeadPatch, HeadView } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { type SystemEvent, systemAppend } from "../log/system-events.ts";
import { checkExpectedVersion, type ExpectedVersion, satisfies } from "../vocabulary/expected-version.ts";
import { checkName, isReserved } from "../vocabulary/names.ts";
import type { DeleteResult, StreamChangeResult, TruncateResult } from "./retention-face.ts";

const told = { outcome: "not-applied" } as const;

/** Rejects a commit that would change nothing, with the head as it is. */
class NothingToDo extends Error {
  readonly head: HeadView;

  constructor(head: HeadView) {
    super("There is nothing to do");
    this.head = head;
  }
}

/** What a change of a stream came to: how its head was when the change was judged. */
interface Changed {
  readonly head: HeadView;
  readonly position: number;
  readonly replayed: boolean;
}

/** A name of a user's stream. Throws `invalid-argument`. */
export function checkUserStream(value: unknown, argument = "streamName"): string {
  const name = checkName(value, argument);
  if (!isReserved(name)) return name;
  throw new InvalidArgumentError(argument, `names a stream of the store's own: ${printable(name)}`, told);
}

/** The row that lets the compactor find a stream with events to drop. */
export function dueStreamRow(dueAtMs: number, streamName: string): KvOperation {
  const key = dueStreamKey(dueAtMs, streamName);
  return { kind: "put", key, value: encodeDueStream(key) };
}

/** Throws `invalid-argument` where there is no such stream, `conflict` where it is not as expected. */
export function checkHead(head: HeadView, expectedVersion: ExpectedVersion): void {
  const { streamName, version } = head;
  if (!satisfies(expectedVersion, version)) {
    const message = `Stream ${printable(streamName)} is at version ${version}, not as expected: ${expectedVersion}`;
    throw new ConflictError(message, { streamName, expectedVersion, actualVersion: version });
  }
  if (version === 0)
    throw new InvalidArgumentError("streamName", `names a stream that has no events: ${printable(streamName)}`, told);
}

/** Throws `stream-deleted` where the head says so. */
export function checkNotDeleted({ streamName, extension: { tombstone } }: HeadView, nowMs: number): void {
  if (tombstone === undefined) return;
  const { deletedAtMs, undeletableUntilMs, purged } = tombstone;
  const until = purged || undeletableUntilMs <= nowMs ? undefined : new Date(undeletableUntilMs);
  throw new StreamDeletedError(streamName, new Date(deletedAtMs), until, told);
}

export class StreamLifecycle {
  readonly #core: StoreCore;
  readonly #deletionGraceMs: number;
  readonly #onDue: (dueAtMs: number) => void;

  /** `onDue` is told when a stream has events to drop from then on. */
  constructor(core: StoreCore, deletionGraceMs: number, onDue: (dueAtMs: number) => void) {
    this.#core = core;
    this.#deletionGraceMs = deletionGraceMs;
    this.#onDue = onDue;
  }

  async truncate(streamName: unknown, options: unknown): Promise<TruncateResult> {
    return await withOutcomeOf(undefined, () => this.#truncate(streamName, options));
  }

  async #truncate(streamName: unknown, options: unknown): Promise<TruncateResult> {
    const name = checkUserStream(streamName);
    const given = checkOptions(options, ["beforeVersion", "expectedVersion", "metadata"], "options", told);
    const beforeVersion = checkInteger(given.beforeVersion, "beforeVersion", 1);
    if (beforeVersion === undefined) throw new InvalidArgumentError("beforeVersion", "is missing", told);
    const expectedVersion = checkExpectedVersion(given.expectedVersion ?? "any", "expectedVersion");
    const metadata = checkMetadataOption(given.metadata);
    const event = { type: "$stream-truncated", data: { streamName: name, beforeVersion }, metadata } as const;
    const nowMs = this.#core.clock.now();
    const { head, ...result } = await this.#change(name, event, nowMs, (view) => {
      checkHead(view, expectedVersion);
      checkNotDeleted(view, nowMs);
      if (beforeVersion > view.version + 1) {
        const problem = `must be at most ${view.version + 1}, one behind the end of the stream, not ${beforeVersion}`;
        throw new InvalidArgumentError("beforeVersion", problem, told);
      }
      if (beforeVersion <= Math.max(1, view.truncatedBefore)) throw new NothingToDo(view);
      return { truncatedBefore: beforeVersion, extension: { ...view.extension, reason: "truncated" } };
    });
    const truncatedBefore = Math.max(1, beforeVersion, head.truncatedBefore);
    return { streamName: name, streamVersion: head.version, truncatedBefore, ...result };
  }

  async delete(streamName: unknown, options: unknown): Promise<DeleteResult> {
    return await withOutcomeOf(undefined, () => this.#delete(streamName, options));
  }

  async #delete(streamName: unknown, options: unknown): Promise<DeleteResult> {
    const name = checkUserStream(streamName);
    const given = checkOptions(options, ["expectedVersion", "metadata"], "options", told);
    const expectedVersion = checkExpectedVersion(given.expectedVersion, "expectedVersion");
    if (expectedVersion === "no-stream" || expectedVersion === 0)
      throw new InvalidArgumentError("expectedVersion", "must be of a stream with events", told);
    const metadata = checkMetadataOption(given.metadata);
    const deletedAtMs = this.#core.clock.now();
    const undeletableUntilMs = deletedAtMs + this.#deletionGraceMs;
    const tombstone = { deletedAtMs, undeletableUntilMs, purged: false };
    const data = { streamName: name, undeletableUntil: new Date(undeletableUntilMs).toISOString() };
    const event = { type: "$stream-deleted", data, metadata } as const;
    const { head, ...result } = await this.#change(name, event, undeletableUntilMs, (view) => {
      checkHead(view, expectedVersion);
      if (view.extension.tombstone !== undefined) throw new NothingToDo(view);
      return { extension: { ...view.extension, tombstone } };
    });
    const stone = result.replayed ? (head.extension.tombstone ?? tombstone) : tombstone;
    return {
      streamName: name,
      streamVersion: head.version,
      deletedAt: new Date(stone.deletedAtMs),
      ...(stone.purged ? {} : { undeletableUntil: new Date(stone.undeletableUntilMs) }),
      ...result,
    };
  }

  async undelete(streamName: unknown, options: unknown): Promise<StreamChangeResult> {
    return await withOutcomeOf(undefined, () => this.#undelete(streamName, options));
  }

  async #undelete(streamName: unknown, options: unknown): Promise<StreamChangeResult> {
    const name = checkUserStream(streamName);
    const given = checkOptions(options, ["metadata"], "options", told);
    const metadata = checkMetadataOption(given.metadata);
    const event = { type: "$stream-undeleted", data: { streamName: name }, metadata } as const;
    const { head, ...result } = await this.#change(name, event, undefined, (view) => {
      checkHead(view, "any");
      const { tombstone, ...rest } = view.extension;
      if (tombstone === undefined) throw new NothingToDo(view);
      if (tombstone.purged || tombstone.undeletableUntilMs <= this.#core.clock.now())
        throw new StreamDeletedError(name, new Date(tombstone.deletedAtMs), undefined, told);
      return { extension: rest satisfies HeadExtension };
    });
    return { streamName: name, streamVersion: head.version, ...result };
  }

  async #change(
    streamName: string,
    event: SystemEvent,
    dueAtMs: number | undefined,
    change: (head: HeadView) => HeadPatch,
  ): Promise<Changed> {
    this.#core.assertOpen();
    let judged: HeadView | undefined;
    const noted = (head: HeadView): HeadPatch => {
      judged = head;
      return change(head);
    };
    try {
      await this.#core.useFamilies(["retention"]);
      const { record } = await this.#core.submit({
        system: true,
        appends: [systemAppend({ ...event, tags: [streamName] })],
        heads: [{ streamName, change: noted }],
        rows: dueAtMs === undefined ? [] : [dueStreamRow(dueAtMs, streamName)],
      });
      if (dueAtMs !== undefined) this.#onDue(dueAtMs);
      if (judged === undefined) throw new Error("A change of a head was accepted and not judged");
      return { head: judged, position: record.position, replayed: false };
    } catch (error) {
      if (!(error instanceof NothingToDo)) throw error;
      return { head: error.head, position: this.#core.lastPosition(), replayed: true };
    }
  }
}
