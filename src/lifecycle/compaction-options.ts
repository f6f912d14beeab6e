/** How a store's compactor is to work: the option `compaction` of opening a store, checked. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";

const everyEventsDefault = 4_096;
const everyEventsMin = 1;
const shareDefault = 0.25;
const shareMin = 0.01;

/** How the compactor works in the background. */
export interface CompactionOptions {
  /** It begins a pass when so many events were appended since the last one. Default: 4,096. */
  readonly everyEvents?: number;
  /** The most of the writer's time that it takes: from 0.01 to 1. Default: 0.25. */
  readonly share?: number;
}

/** The same with its defaults. */
export interface CompactionSettings extends Required<CompactionOptions> {
  /** Without it, passes are those that somebody asks for. */
  readonly background: boolean;
}

/** Throws `invalid-argument` for what it cannot be; `false` switches the background off. */
export function checkCompaction(compaction: unknown): CompactionSettings {
  const defaults = { everyEvents: everyEventsDefault, share: shareDefault };
  if (compaction === false) return { ...defaults, background: false };
  if (compaction !== undefined && (typeof compaction !== "object" || compaction === null))
    throw new InvalidArgumentError("compaction", `must be false or an object, not ${printable(compaction)}`);
  const given = checkOptions(compaction, ["everyEvents", "share"], "compaction");
  const everyEvents = checkInteger(given.everyEvents, "compaction.everyEvents", everyEventsMin) ?? everyEventsDefault;
  const share = given.share ?? shareDefault;
  if (typeof share !== "number" || !(share >= shareMin && share <= 1))
    throw new InvalidArgumentError("compaction.share", `must be from ${shareMin} to 1, not ${printable(share)}`);
  return { everyEvents, share, background: true };
}
