/** Says that a stream is deleted, the same way to whoever reads it, checks it or appends to it. */

import { type EventStoreErrorOptions, StreamDeletedError } from "../errors.ts";
import { decodeHeadExtension } from "../format/head-extension.ts";

/** The error to throw where the extension of a stream's head says that it is deleted. */
export function deletedError(
  streamName: string,
  extension: Uint8Array,
  options?: EventStoreErrorOptions,
): StreamDeletedError | undefined {
  if (extension.length === 0) return undefined;
  const { tombstone } = decodeHeadExtension(extension);
  if (tombstone === undefined) return undefined;
  const { deletedAtMs, undeletableUntilMs, purged } = tombstone;
  const until = purged ? undefined : new Date(undeletableUntilMs);
  return new StreamDeletedError(streamName, new Date(deletedAtMs), until, options);
}
