/**
 * What the engine's own objects say, read by us: the manifest, and whether an object of the WAL is whole. Only the latter has
 * checksums. Formats are those of SlateDB 0.12; what a later one writes is left to the engine to judge.
 */

import { DamagedBuffer, FlatTable } from "./flat-buffer.ts";

/** A table as the manifest knows it. */
export interface EngineTable {
  readonly id: string;
  /** How far its parts reach into its object, which is a little longer. */
  readonly reachesBytes: number;
}

export interface EngineManifest {
  /** What is in objects of the WAL up to this one is in tables as well. */
  readonly replayAfterWal: number;
  readonly tables: readonly EngineTable[];
}

/** The engine writes this version of manifests, and reads the next as well. */
const knownVersion = 1;
const manifestVersionMax = 2;

/** The record behind the version that the object begins with; `undefined` where that is not ours to know. */
function recordIn(bytes: Uint8Array): FlatTable | undefined {
  if (bytes.length < 2) throw new DamagedBuffer("it is empty");
  const version = ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  // The engine itself refuses versions that it does not know.
  if (version === 0 || version > manifestVersionMax) throw new DamagedBuffer(`its version is ${version}`);
  return version === knownVersion ? FlatTable.root(bytes.subarray(2)) : undefined;
}

/** Throws `DamagedBuffer` for what is no manifest; `undefined` where it is one that we cannot judge. */
export function decodeManifest(bytes: Uint8Array): EngineManifest | undefined {
  const record = recordIn(bytes);
  // Tables of another database: no store of ours has any.
  if (record === undefined || record.tables(1).length > 0) return undefined;
  const runs = record.tables(9).flatMap((run) => run.tables(1));
  return {
    replayAfterWal: record.count(5),
    tables: [...record.tables(8), ...runs].map(decodeTable),
  };
}

function decodeTable(record: FlatTable): EngineTable {
  const id = record.table(0);
  const info = record.table(1);
  if (id === undefined || info === undefined) throw new DamagedBuffer("a table has no name");
  const parts = [info.count(3) + info.count(4), info.count(1) + info.count(2), info.count(8) + info.count(9)];
  return { id: ulid((id.long(0) << 64n) | id.long(1)), reachesBytes: Math.max(...parts) };
}

/** 128 bits as the engine names tables: 26 characters of Crockford's alphabet. */
function ulid(value: bigint): string {
  const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  let text = "";
  for (let rest = value, left = 26; left > 0; rest >>= 5n, left -= 1) text = alphabet.charAt(Number(rest & 31n)) + text;
  return text;
}

const checksumBytes = 4;
const footerBytes = 10;
const zstd = 4;

/**
 * Throws `DamagedBuffer` unless all of a WAL object is as it was written: blocks, index and description, each with a checksum behind
 * it. The engine would say so as well, but for the object's last bytes, by which it finds the description: there it asks for bytes that do
 * not exist, for ever.
 */
export function assertWholeWal(bytes: Uint8Array): void {
  const end = bytes.length - footerBytes;
  if (end <= checksumBytes) throw new DamagedBuffer(bytes.length === 0 ? "it is empty" : "it is too short");
  const footer = new DataView(bytes.buffer, bytes.byteOffset + end, footerBytes);
  const version = footer.getUint16(8);
  if (version === 0 || version > 2) throw new DamagedBuffer(`its version is ${version}`);
  const info = FlatTable.root(partOf(bytes, Number(footer.getBigUint64(0)), end));
  const index = partOf(bytes, info.count(1), info.count(1) + info.count(2));
  const compression = info.byte(5);
  if (compression !== 0 && compression !== zstd) return;
  const offsets = FlatTable.root(compression === zstd ? Bun.zstdDecompressSync(index) : index)
    .tables(0)
    .map((block) => block.count(0));
  // Its filter and its statistics, if it has any.
  for (const slot of [3, 8])
    if (info.count(slot + 1) > 0) partOf(bytes, info.count(slot), info.count(slot) + info.count(slot + 1));
  const blocksEnd = info.count(4) > 0 ? info.count(3) : info.count(1);
  for (const [block, from] of offsets.entries()) partOf(bytes, from, offsets[block + 1] ?? blocksEnd);
}

/** Without the checksum behind it, which must be right. */
function partOf(bytes: Uint8Array, from: number, to: number): Uint8Array {
  if (from < 0 || to > bytes.length || to - from <= checksumBytes)
    throw new DamagedBuffer(`no part from ${from} to ${to}`);
  const content = bytes.subarray(from, to - checksumBytes);
  const checksum = new DataView(bytes.buffer, bytes.byteOffset + to - checksumBytes, checksumBytes).getUint32(0);
  if (Bun.hash.crc32(content) !== checksum) throw new DamagedBuffer("a checksum is wrong");
  return content;
}
