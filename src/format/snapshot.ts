/**
 * A snapshot: the state of one stream for one decider, with the version and position that it reaches to. A cache: whoever
 * cannot read one goes without it.
 *
 * snapshot: seal | streamVersion | position | taken at (6, ms) | extension | encoding (1) | state
 */

import { StorageCorruptError } from "../errors.ts";
import { ByteWriter } from "./bytes.ts";
import { beginSealed, openSealed, seal } from "./checksum.ts";
import type { StoredRow } from "./pages.ts";
import { type EncodedPayload, type PayloadEncoding, readPayload, writePayload } from "./payload.ts";

const snapshotKind = 0x71;
const encodings: readonly PayloadEncoding[] = ["json", "msgpack"];
const nothing: Uint8Array = new Uint8Array(0);

export interface Snapshot {
  readonly streamVersion: number;
  /** The position of the stream's last event that is in it. */
  readonly position: number;
  readonly takenAtMs: number;
  readonly state: unknown;
}

export function encodeSnapshot(key: Uint8Array, snapshot: Omit<Snapshot, "state">, state: EncodedPayload): Buffer {
  const writer = new ByteWriter(256);
  beginSealed(writer, snapshotKind);
  writer.varint(snapshot.streamVersion);
  writer.varint(snapshot.position);
  writer.uint48(snapshot.takenAtMs);
  writer.block(nothing);
  writer.byte(encodings.indexOf(state.encoding));
  writePayload(writer, state);
  return seal(writer, key);
}

/** Throws `storage-corrupt` for a damaged one. */
export function decodeSnapshot(row: StoredRow): Snapshot {
  const reader = openSealed(row.key, row.value, snapshotKind, "A snapshot");
  const streamVersion = reader.varint();
  const position = reader.varint();
  const takenAtMs = reader.uint48();
  reader.block();
  const number = reader.byte();
  const encoding = encodings[number];
  if (encoding === undefined) throw new StorageCorruptError(`A snapshot is encoded in an unknown way: ${number}`);
  try {
    return { streamVersion, position, takenAtMs, state: readPayload(reader, encoding) };
  } catch (cause) {
    throw new StorageCorruptError("A snapshot's state is damaged", { cause });
  }
}
