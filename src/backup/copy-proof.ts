/**
 * What a copy must hold before it is called one: each object of archives that its rows name, as they say it is, and a log that
 * verifies by its hash chain and ends with the head that the source had. Reads the copy only, never the source.
 */

import { StorageCorruptError } from "../errors.ts";
import { archiveObjectName } from "../format/archive-object.ts";
import { readChainEnd } from "../format/chain.ts";
import { everyArchivePart, placeOfArchivePartKey } from "../format/lifecycle-keys.ts";
import { decodeArchivePart } from "../format/lifecycle-records.ts";
import { isWantedOfArchive } from "../history/archived-versions.ts";
import { provenLog } from "../history/verify.ts";
import type { KvReader } from "../kv/kv.ts";
import { type ChainHead, chainHeadOf } from "../vocabulary/chain-head.ts";
import type { CopiedStore } from "./copy-rows.ts";
import type { CopyStoreOptions } from "./copy-store.ts";
import type { CopyTarget } from "./copy-target.ts";

/** Rows of the archive that are compared with its objects at once. */
const rowsAtOnce = 64;

/** The first object that a row of the copy names, and that is not among those which were copied as it says. */
export async function missingOfArchive(
  kv: KvReader,
  copied: ReadonlyMap<string, Uint8Array>,
): Promise<string | undefined> {
  const cursor = await kv.scan(everyArchivePart, "replay");
  try {
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
      for (const row of rows) {
        const { streamName, lastVersion } = placeOfArchivePartKey(row.key);
        const { from, digest } = decodeArchivePart(row);
        const name = archiveObjectName(streamName, from, lastVersion);
        const found = copied.get(name);
        if (found !== undefined && Buffer.compare(found, digest) === 0) continue;
        if (await isWantedOfArchive(kv, streamName, lastVersion)) return name;
      }
    }
    return undefined;
  } finally {
    cursor.close();
  }
}

/** Verifies the copy by itself and against the head that its source had; throws `storage-corrupt` where that fails. */
export async function proveCopy(
  { targetObjects, signal, onProgress }: CopyStoreOptions,
  { kv }: CopyTarget,
  { end }: CopiedStore,
): Promise<ChainHead | undefined> {
  const chain = readChainEnd(end.extension);
  const head = chain === undefined ? undefined : chainHeadOf(chain);
  const log = provenLog({ kv, objects: async () => targetObjects, end: () => end, assertReadable: () => {} });
  const report = await log.verify({
    ...(head === undefined ? {} : { against: head }),
    ...(signal === undefined ? {} : { signal }),
    onProgress: ({ events }) => onProgress({ phase: "verify", done: events, bytes: 0 }),
  });
  const [broken] = report.breaks;
  if (broken === undefined) return head;
  throw new StorageCorruptError(`The copy does not verify, which its source may not either: ${broken.reason}`);
}
