/** Verifies a store by its URL, without opening it as one: so also where damage keeps it from being opened. */

import { InvalidArgumentError, StorageCorruptError, StoreNotFoundError } from "../errors.ts";
import { logEndKey, storeHeaderKey } from "../format/key-families.ts";
import { decodeLogEnd, decodeStoreHeader, type LogEnd } from "../format/records.ts";
import { parseStoreUrl, type S3Options } from "../kv/object-store.ts";
import { openObjects } from "../kv/objects.ts";
import { openSlateReaderKv } from "../kv/slatedb-reader-kv.ts";
import { checkOptions } from "../log/arguments.ts";
import { assertNoCopy } from "../log/copies.ts";
import { systemClock } from "../runtime/clock.ts";
import type { VerifyOptions, VerifyReport } from "../vocabulary/verification.ts";
import { provenLog } from "./verify.ts";

/** Which store to verify, and what of it. Unknown options are refused. */
export interface VerifyStoreOptions extends VerifyOptions {
  /** `file:DIR` or `s3://bucket/prefix`: a store, whoever writes to it, or a backup. */
  readonly url: string;
  /** How to reach the bucket. */
  readonly s3?: Omit<S3Options, "createBucket">;
}

/**
 * What `verify` of an open store does, for a store that cannot be opened because what opening reads is damaged, too. Nobody is
 * fenced. Throws as `verify`; `store-not-found`; and `storage-corrupt` where not even the end of the log can be read.
 */
export async function verifyStore(options: VerifyStoreOptions): Promise<VerifyReport> {
  checkOptions(options, ["url", "s3", "fromPosition", "toPosition", "against", "signal", "onProgress"]);
  const { url, s3 = {}, ...verifying } = options;
  const location = parseStoreUrl(url);
  if (location.kind === "memory") {
    const problem = 'must be "file:DIR" or "s3://bucket/prefix": only its own process can read "memory:"';
    throw new InvalidArgumentError("url", problem);
  }
  const newest = () => openSlateReaderKv({ location, s3, clock: systemClock });
  await using kv = await newest();
  await using beside = await openObjects(location, s3);
  const [header, end] = await kv.getMany([storeHeaderKey, logEndKey]);
  if (header === undefined) throw new StoreNotFoundError(location.url);
  await assertNoCopy(kv, decodeStoreHeader(header), location.url, "read");
  if (end === undefined) throw new StorageCorruptError("The store has a header and no end of the log");
  const logEnd: LogEnd = decodeLogEnd(end);
  return await provenLog({
    kv,
    objects: async () => beside,
    newest,
    end: () => logEnd,
    assertReadable: () => {},
  }).verify(verifying);
}
