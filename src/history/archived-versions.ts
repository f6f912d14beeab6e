/** Which versions of a stream only its archive may have, by the rows of the stream: of these each must be in an object. */

import { decodeHeadExtension } from "../format/head-extension.ts";
import { streamHeadKey } from "../format/key-families.ts";
import { archivePartKey } from "../format/lifecycle-keys.ts";
import { decodeStreamHead, type StreamHead } from "../format/stream-head.ts";
import type { KvReader } from "../kv/kv.ts";

/** The versions of a stream that only its archive may have; nothing where there are none. */
export function archivedOf(head: StreamHead): { readonly from: number; readonly before: number } | undefined {
  const { archive, tombstone } = decodeHeadExtension(head.extension);
  if (archive === undefined || tombstone?.purged === true) return undefined;
  const from = Math.max(archive.from, head.truncatedBefore);
  return from < archive.before ? { from, before: archive.before } : undefined;
}

/** Throws `storage-corrupt` where the head is damaged. */
export async function headOf(kv: KvReader, streamName: string): Promise<StreamHead | undefined> {
  const value = await kv.get(streamHeadKey(streamName));
  return value === undefined ? undefined : decodeStreamHead(streamName, value);
}

/** Whether that object is to be there still, by the rows as they are now. */
export async function isWantedOfArchive(kv: KvReader, streamName: string, to: number): Promise<boolean> {
  if ((await kv.get(archivePartKey(streamName, to))) === undefined) return false;
  const head = await headOf(kv, streamName);
  const archived = head === undefined ? undefined : archivedOf(head);
  return archived !== undefined && archived.from <= to;
}
