/** The look at a store's lease that opens nothing, and so fences nobody: for people and for tools that watch. */

import { StorageCorruptError } from "../errors.ts";
import { parseStoreUrl, type S3Options } from "../kv/object-store.ts";
import { openObjects } from "../kv/objects.ts";
import { checkOptions } from "../log/arguments.ts";
import type { WriterLease } from "../vocabulary/writer-lease.ts";
import { readLease } from "./found-lease.ts";
import { checkS3Options } from "./open-options.ts";

/** Whose lease to read. Unknown options are refused. */
export interface WriterLeaseOptions {
  /** As for `openEventStore`. */
  readonly url: string;
  readonly s3?: S3Options;
}

/**
 * Who writes to the store, as its lease says, by one GET; `undefined` where it has none, which `memory:` never has. A lease that is
 * `held` may be that of a process which is gone: whether it is still renewed is seen by looking again.
 *
 * Throws `invalid-argument`, `storage-unavailable`, and `storage-corrupt` for a lease that is damaged or of a newer version.
 */
export async function readWriterLease(options: WriterLeaseOptions): Promise<WriterLease | undefined> {
  const given = checkOptions(options, ["url", "s3"]);
  const location = parseStoreUrl(given.url);
  checkS3Options(given.s3);
  await using objects = await openObjects(location, options.s3 ?? {});
  const found = await readLease(objects);
  if (found === undefined) return undefined;
  if (found.stored.kind === "lease") return found.stored.lease;
  throw new StorageCorruptError(`The lease cannot be read, because ${found.stored.why}: ${location.url}`);
}
