/**
 * What comes before a store is opened: its place is made ready, and its lease is taken or waited for. Only then may the store
 * be opened, which fences whoever else writes.
 */

import { InvalidArgumentError } from "../errors.ts";
import { partitioningName } from "../format/partitioning-record.ts";
import { findStore } from "../kv/bucket-access.ts";
import { prepareFolder } from "../kv/folder.ts";
import type { S3Options, StoreLocation } from "../kv/object-store.ts";
import { openObjects } from "../kv/objects.ts";
import type { Clock } from "../runtime/clock.ts";
import { systemIds } from "../runtime/ids.ts";
import { thisProcess } from "../runtime/this-process.ts";
import { Lease } from "./lease.ts";
import type { TakeoverSettings } from "./open-options.ts";
import { waitForLease } from "./standby.ts";

/** A standby looks so often in one interval of the lease. */
const looksPerInterval = 5;

export interface TakeLeaseOptions {
  readonly location: StoreLocation & { kind: "folder" | "s3" };
  readonly s3: S3Options;
  readonly takeover: TakeoverSettings;
  readonly clock: Clock;
}

/**
 * The lease, which is renewed from now on. With `"when-idle"` it is this writer's, and waiting for it throws as `waitForLease` does;
 * with `"always"` a lease that cannot be stored stops nothing. Throws for a place where no store can be, as opening does.
 */
export async function takeLease(options: TakeLeaseOptions): Promise<Lease> {
  const { location, s3, takeover, clock } = options;
  // Nothing is to be written into a folder of somebody else's, nor asked of a bucket that is not there.
  if (location.kind === "folder") await prepareFolder(location.directory);
  else await findStore(location, s3);
  const { writerName, leaseIntervalMs } = takeover;
  // Not from the store's own source of ids, which a test may have made repeat: who shares an id takes the other's lease for its own.
  const writer = {
    instanceId: systemIds.next(),
    ...(writerName === undefined ? {} : { writerName }),
    ...thisProcess(),
  };
  const objects = await openObjects(location, s3);
  try {
    if ((await objects.get(partitioningName)) !== undefined)
      throw new InvalidArgumentError("url", `names a store in partitions: ${location.url}`);
  } catch (error) {
    await objects.close();
    throw error;
  }
  const lease = new Lease({
    objects,
    clock,
    writer,
    intervalMs: leaseIntervalMs,
  });
  try {
    if (takeover.takeover === "always") await lease.seize();
    else await waitForLease({ lease, clock, pollMs: leaseIntervalMs / looksPerInterval }, takeover);
    takeover.signal?.throwIfAborted();
  } catch (error) {
    await lease.abandon();
    throw error;
  }
  lease.start();
  return lease;
}
