/**
 * Moves a stream's events into the archive: objects beside the database, each of up to 8 MiB of events. An object is stored
 * before a commit registers it and says in the stream's head how far the archive reaches; only behind that are the events
 * dropped from where they were. So an event is always in one of the two, whatever breaks off in between, and a call that is
 * repeated goes on where the last one was registered.
 */

import { checkMetadataOption, withOutcomeOf } from "../decider/common.ts";
import { InternalError, InvalidArgumentError } from "../errors.ts";
import { archiveBytesMax, archiveEventsMax, archiveObjectName, encodeArchiveObject } from "../format/archive-object.ts";
import type { StoredEvent } from "../format/envelope.ts";
import { decodeHeadExtension } from "../format/head-extension.ts";
import { streamHeadKey } from "../format/key-families.ts";
import { archivePartKey } from "../format/lifecycle-keys.ts";
import { encodeArchivePart } from "../format/lifecycle-records.ts";
import { decodeStreamHead } from "../format/stream-head.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { HeadPatch, HeadView } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { systemAppend } from "../log/system-events.ts";
import type { EventMetadata } from "../vocabulary/event.ts";
import { checkExpectedVersion, type ExpectedVersion } from "../vocabulary/expected-version.ts";
import type { ArchiveResult } from "./retention-face.ts";
import { checkHead, checkNotDeleted, checkUserStream, dueStreamRow } from "./stream-lifecycle.ts";

const told = { outcome: "not-applied" } as const;

interface Job {
  readonly streamName: string;
  readonly beforeVersion: number | undefined;
  readonly expectedVersion: ExpectedVersion;
  readonly metadata: EventMetadata;
  readonly signal: AbortSignal | undefined;
}

/** What was written so far. */
interface Written {
  events: number;
  bytes: number;
  objects: number;
  objectBytes: number;
}

export class Archiver {
  readonly #core: StoreCore;
  readonly #onDue: (dueAtMs: number) => void;
  /** One stream after another: each holds an object's worth of events in memory. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(core: StoreCore, onDue: (dueAtMs: number) => void) {
    this.#core = core;
    this.#onDue = onDue;
  }

  async archive(streamName: unknown, options: unknown): Promise<ArchiveResult> {
    const job = await withOutcomeOf(undefined, async () => this.#check(streamName, options));
    const working = this.#last.then(() => this.#run(job));
    this.#last = working.catch(() => {});
    return await working;
  }

  #check(streamName: unknown, options: unknown): Job {
    const known = ["beforeVersion", "expectedVersion", "metadata", "signal"];
    const given = checkOptions(options, known, "options", told);
    return {
      streamName: checkUserStream(streamName),
      beforeVersion: checkInteger(given.beforeVersion, "beforeVersion", 1),
      expectedVersion: checkExpectedVersion(given.expectedVersion ?? "any", "expectedVersion"),
      metadata: checkMetadataOption(given.metadata),
      signal: checkSignal(given.signal),
    };
  }

  async #run(job: Job): Promise<ArchiveResult> {
    const { streamName, signal } = job;
    this.#core.assertOpen();
    const view = await this.#look(streamName);
    const nowMs = this.#core.clock.now();
    checkHead(view, job.expectedVersion);
    checkNotDeleted(view, nowMs);
    const before = job.beforeVersion ?? view.version + 1;
    if (before > view.version + 1) {
      const problem = `must be at most ${view.version + 1}, one behind the end of the stream, not ${before}`;
      throw new InvalidArgumentError("beforeVersion", problem, told);
    }
    const written: Written = { events: 0, bytes: 0, objects: 0, objectBytes: 0 };
    const started = nextOf(view);
    let from = started;
    let position: number | undefined;
    if (from < before) await this.#core.useFamilies(["retention", "archives"]);
    while (from < before) {
      signal?.throwIfAborted();
      const events = await this.#read(streamName, from, before - 1);
      const reached = (events.at(-1)?.version ?? before - 1) + 1;
      if (events.length > 0) position = await this.#store(job, events, { started, before }, written);
      from = Math.max(reached, nextOf(await this.#look(streamName)));
    }
    const { version, extension } = await this.#look(streamName);
    return {
      streamName,
      streamVersion: version,
      archivedBefore: extension.archive?.before ?? 1,
      ...written,
      position: position ?? this.#core.lastPosition(),
      replayed: position === undefined,
    };
  }

  async #look(streamName: string): Promise<HeadView> {
    const value = await this.#core.rows.get(streamHeadKey(streamName));
    if (value === undefined) return { streamName, version: 0, pagedTo: 0, truncatedBefore: 0, extension: {} };
    const { version, tail, truncatedBefore, extension } = decodeStreamHead(streamName, value);
    const pagedTo = version - tail.length;
    return { streamName, version, pagedTo, truncatedBefore, extension: decodeHeadExtension(extension) };
  }

  /** As many of these events as one object holds. */
  async #read(streamName: string, from: number, to: number): Promise<readonly StoredEvent[]> {
    const events: StoredEvent[] = [];
    let bytes = 0;
    for await (const list of this.#core.storedStream(streamName, from, to)) {
      for (const event of list) {
        if (events.length > 0 && (bytes + event.bytes.length > archiveBytesMax || events.length >= archiveEventsMax))
          return events;
        events.push(event);
        bytes += event.bytes.length;
      }
    }
    return events;
  }

  /** Stores an object, then registers it; the last one with the event that records it all. */
  async #store(
    job: Job,
    events: readonly StoredEvent[],
    { started, before }: { readonly started: number; readonly before: number },
    written: Written,
  ): Promise<number> {
    const { streamName, metadata } = job;
    const [first, last] = [events[0], events.at(-1)];
    if (first === undefined || last === undefined) throw new InternalError("An object of the archive has no events");
    const name = archiveObjectName(streamName, first.version, last.version);
    const object = await encodeArchiveObject(name, events);
    await (await this.#core.objects()).put(name, object);
    const bytes = events.reduce((sum, event) => sum + event.bytes.length, 0);
    const key = archivePartKey(streamName, last.version);
    const part = {
      from: first.version,
      firstPosition: first.position,
      lastPosition: last.position,
      bytes,
      objectBytes: object.length,
      digest: new Bun.CryptoHasher("sha256").update(object).digest(),
    };
    const nowMs = this.#core.clock.now();
    const isLast = last.version + 1 >= before;
    const data = { streamName, fromVersion: started, beforeVersion: last.version + 1 };
    const event = { type: "$stream-archived", data, metadata, tags: [streamName] } as const;
    const { record } = await this.#core.submit({
      system: true,
      ...(isLast ? { appends: [systemAppend(event)] } : {}),
      rows: [{ kind: "put", key, value: encodeArchivePart(key, part) }, dueStreamRow(nowMs, streamName)],
      heads: [{ streamName, change: (view) => archivedTo(view, first.version, last.version + 1, nowMs) }],
    });
    this.#onDue(nowMs);
    written.events += events.length;
    written.bytes += bytes;
    written.objects += 1;
    written.objectBytes += object.length;
    return record.position;
  }
}

/** The first version that is neither archived nor gone. */
function nextOf({ truncatedBefore, extension: { archive } }: HeadView): number {
  return Math.max(1, truncatedBefore, archive?.before ?? 1);
}

/**
 * What the head says when one more object is registered. What a rule of retention hides before its first event is gone with
 * it, as with an append: it is in no object, and is dropped where it was.
 */
function archivedTo(view: HeadView, from: number, before: number, nowMs: number): HeadPatch {
  checkNotDeleted(view, nowMs);
  const { extension } = view;
  const archive = { from: extension.archive?.from ?? from, before };
  if (from <= nextOf(view)) return { extension: { ...extension, archive } };
  return { truncatedBefore: from, extension: { ...extension, archive, reason: "excess" } };
}
