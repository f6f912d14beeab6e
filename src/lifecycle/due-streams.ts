/**
 * The list of streams with events to drop, sorted by when that is due: reading what is due of it, taking streams out, and putting off
 * those that are damaged. A stream may be in it several times. It is kept in the store, so whoever opens that next goes on with it.
 */

import { StorageCorruptError } from "../errors.ts";
import { decodeHeadExtension, type HeadExtension } from "../format/head-extension.ts";
import { streamHeadKey } from "../format/key-families.ts";
import { dueStreamOfKey, dueStreamSpan } from "../format/lifecycle-keys.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { LifecyclePass } from "./lifecycle-step.ts";
import { dueStreamRow } from "./stream-lifecycle.ts";

/** Entries of the list that are worked on at once. */
const dueAtOnce = 128;
/** A stream in the list, and its entries there. */
export interface Due {
  readonly streamName: string;
  readonly keys: readonly Uint8Array[];
}

/** The head of a stream in the list, as it is when its turn comes. */
export interface DueHead extends Due {
  readonly head: StreamHead;
  readonly extension: HeadExtension;
}

/** A piece of the list. */
export interface DuePiece {
  readonly due: readonly Due[];
  /** The entry that the next piece begins behind; absent where there is none. */
  readonly last?: Uint8Array;
  /** When the first that is not due yet will be. */
  readonly laterMs?: number;
}

/** The entries of the list behind `after` that are due, so many as are worked on at once. */
export async function readDue(core: StoreCore, nowMs: number, after: Uint8Array | undefined): Promise<DuePiece> {
  const byStream = new Map<string, Uint8Array[]>();
  const start = after === undefined ? dueStreamSpan.start : Buffer.concat([after, Buffer.of(0)]);
  const cursor = await core.rows.scan({ start, end: dueStreamSpan.end }, "lookup");
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

function duesOf(byStream: ReadonlyMap<string, readonly Uint8Array[]>): readonly Due[] {
  return [...byStream].map(([streamName, keys]) => ({ streamName, keys }));
}

/** The heads of streams, as they were found. */
export interface DueHeads {
  readonly found: readonly DueHead[];
  /** Streams that are not there. */
  readonly gone: readonly Due[];
  readonly damaged: readonly { readonly due: Due; readonly error: StorageCorruptError }[];
}

export async function headsOf(core: StoreCore, due: readonly Due[]): Promise<DueHeads> {
  const values = await core.rows.getMany(due.map(({ streamName }) => streamHeadKey(streamName)));
  const [found, gone, damaged]: [DueHead[], Due[], { due: Due; error: StorageCorruptError }[]] = [[], [], []];
  for (const [index, one] of due.entries()) {
    const value = values[index];
    if (value === undefined) {
      gone.push(one);
      continue;
    }
    try {
      const head = decodeStreamHead(one.streamName, value);
      found.push({ ...one, head, extension: decodeHeadExtension(head.extension) });
    } catch (error) {
      if (!(error instanceof StorageCorruptError)) throw error;
      damaged.push({ due: one, error });
    }
  }
  return { found, gone, damaged };
}

/** Takes entries out of the list: the streams are not there, or nothing of them is left to be done. */
export async function strikeOff(pass: LifecyclePass, due: readonly Due[]): Promise<void> {
  const rows = due.flatMap(({ keys }) => keys.map((key): KvOperation => ({ kind: "delete", key })));
  if (rows.length > 0) await pass.commit({ rows });
}

/** A stream that is damaged is told of, and comes again at `untilMs`: the others must not wait for it. */
export async function putOff(
  pass: LifecyclePass,
  { streamName, keys }: Due,
  untilMs: number,
  error: unknown,
): Promise<void> {
  pass.core.warn(error);
  const rows = keys.map((key): KvOperation => ({ kind: "delete", key }));
  await pass.commit({ rows: [...rows, dueStreamRow(untilMs, streamName)] });
}
