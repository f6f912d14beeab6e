/** The list of scenarios, in the order they run. */

import type { Scenario } from "../harness/scenario.ts";
import { append } from "./append.ts";
import { appendExisting } from "./append-existing.ts";
import { bucketAppend } from "./bucket-append.ts";
import { bucketColdOpen } from "./bucket-cold-open.ts";
import { bucketColdRead } from "./bucket-cold-read.ts";
import { bucketDiskCache } from "./bucket-disk-cache.ts";
import { bucketIdle } from "./bucket-idle.ts";
import { bucketPartitions } from "./bucket-partitions.ts";
import { bucketPut } from "./bucket-put.ts";
import { bucketRequests } from "./bucket-requests.ts";
import { coldOpen } from "./cold-open.ts";
import { compaction } from "./compaction.ts";
import { execute } from "./execute.ts";
import { history } from "./history.ts";
import { importEvents } from "./import.ts";
import { linger } from "./linger.ts";
import { longLife } from "./long-life.ts";
import { longRun, longRunEngineCache } from "./long-run.ts";
import { memory } from "./memory.ts";
import { partitions } from "./partitions.ts";
import { payloadEncoding } from "./payload-encoding.ts";
import { peers } from "./peers.ts";
import { personalData } from "./personal-data.ts";
import { projections } from "./projections.ts";
import { reclaim } from "./reclaim.ts";
import { replay } from "./replay.ts";
import { replicaLag } from "./replica-lag.ts";
import { snapshotLoad } from "./snapshot-load.ts";
import { sqlProjections } from "./sql-projections.ts";
import { storedBytes } from "./stored-bytes.ts";
import { subscribeLag } from "./subscribe-lag.ts";
import { takeover } from "./takeover.ts";

export const scenarios: readonly Scenario[] = [
  append,
  appendExisting,
  execute,
  importEvents,
  replay,
  subscribeLag,
  history,
  sqlProjections,
  projections,
  replicaLag,
  coldOpen,
  takeover,
  partitions,
  linger,
  memory,
  longRun,
  longLife,
  longRunEngineCache,
  compaction,
  snapshotLoad,
  storedBytes,
  reclaim,
  payloadEncoding,
  personalData,
  peers,
  bucketPut,
  bucketAppend,
  bucketPartitions,
  bucketColdOpen,
  bucketColdRead,
  bucketDiskCache,
  bucketRequests,
  bucketIdle,
];
