/** The list of scenarios, in the order they run. */

import type { Scenario } from "../harness/scenario.ts";
import { append } from "./append.ts";
import { appendExisting } from "./append-existing.ts";
import { coldOpen } from "./cold-open.ts";
import { importEvents } from "./import.ts";
import { memory } from "./memory.ts";
import { payloadEncoding } from "./payload-encoding.ts";
import { peers } from "./peers.ts";
import { replay } from "./replay.ts";
import { sqlProjections } from "./sql-projections.ts";
import { subscribeLag } from "./subscribe-lag.ts";

export const scenarios: readonly Scenario[] = [
  append,
  appendExisting,
  importEvents,
  replay,
  subscribeLag,
  sqlProjections,
  coldOpen,
  memory,
  payloadEncoding,
  peers,
];
