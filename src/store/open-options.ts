/** The options of opening a store: what they are, and the checks that nothing is misspelt or out of its bounds. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { parseStoreUrl, type S3Options, type StoreLocation } from "../kv/object-store.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { idempotencyWindowMsDefault } from "../log/idempotency-keys.ts";
import { type Clock, systemClock } from "../runtime/clock.ts";
import { type IdSource, systemIds } from "../runtime/ids.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventRegistry } from "../schema/registry.ts";

/** How to open a store. Unknown options are refused. */
export interface OpenOptions<Definitions extends EventDefinitions = never> {
  /** `memory:`, `file:DIR` or `s3://bucket/prefix`. */
  readonly url: string;
  /** The events of each category. Left out, the store takes any event; given, it takes only these. */
  readonly events?: readonly Definitions[];
  /** How to reach a bucket; what is missing comes from `AWS_*`, then from profiles and roles. Credentials that end are renewed. */
  readonly s3?: S3Options;
  /** Waits so long for more commits to share a group: trades latency for fewer PUTs. Default: 0 ms, at most 10,000. */
  readonly commitLingerMs?: number;
  /** How long a commit may take before its caller is told `storage-unavailable`. Default: 30,000 ms. */
  readonly commitTimeoutMs?: number;
  /** How long an `idempotencyKey` is remembered at least. Default: seven days. */
  readonly idempotencyWindowMs?: number;
  /** Told what handlers of `on` throw. Default: a process warning. */
  readonly onError?: (error: unknown) => void;
  /** Tests may turn their own clock and ids. */
  readonly clock?: Clock;
  readonly ids?: IdSource;
}

const optionNames = [
  "url",
  "events",
  "s3",
  "commitLingerMs",
  "commitTimeoutMs",
  "idempotencyWindowMs",
  "onError",
  "clock",
  "ids",
] as const;
const s3OptionNames = [
  "endpoint",
  "region",
  "accessKeyId",
  "secretAccessKey",
  "sessionToken",
  "forcePathStyle",
  "createBucket",
];

const commitTimeoutMsDefault = 30_000;
const commitLingerMsMax = 10_000;
/** What a timer can hold. */
const millisecondsMax = 2 ** 31 - 1;

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), { type: "StrataHandlerError" });
}

function checkDefinitions(events: unknown): readonly EventDefinitions[] {
  if (events === undefined) return [];
  if (!Array.isArray(events))
    throw new InvalidArgumentError("events", `must be a list of defineEvents(...), not ${printable(events)}`);
  for (const [index, definitions] of events.entries()) {
    if (
      typeof definitions?.category !== "string" ||
      typeof definitions?.types !== "object" ||
      definitions.types === null
    ) {
      throw new InvalidArgumentError(`events[${index}]`, "must be made by defineEvents(...)");
    }
  }
  return events;
}

/** Where the store lives. Throws `invalid-argument` for a URL that is none, and for options that there are not. */
export function checkLocation(options: unknown): StoreLocation {
  const given = checkOptions(options, optionNames);
  const location = parseStoreUrl(given.url);
  checkOptions(given.s3, s3OptionNames, "s3");
  return location;
}

/** The options as they hold: checked, with their defaults. */
export interface Settings {
  readonly registry: EventRegistry;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly lingerMs: number;
  readonly timeoutMs: number;
  readonly idempotencyWindowMs: number;
  readonly onError: (error: unknown) => void;
}

/** Throws `invalid-argument` for the first option that cannot be. */
export function checkSettings(options: Omit<OpenOptions<EventDefinitions>, "url">): Settings {
  const ids = options.ids ?? systemIds;
  const lingerMs = checkInteger(options.commitLingerMs, "commitLingerMs", 0) ?? 0;
  if (lingerMs > commitLingerMsMax)
    throw new InvalidArgumentError("commitLingerMs", `must be at most ${commitLingerMsMax}, not ${lingerMs}`);
  const timeoutMs = checkInteger(options.commitTimeoutMs, "commitTimeoutMs", 1) ?? commitTimeoutMsDefault;
  if (timeoutMs > millisecondsMax)
    throw new InvalidArgumentError("commitTimeoutMs", `must be at most ${millisecondsMax}, not ${timeoutMs}`);
  if (options.onError !== undefined && typeof options.onError !== "function") {
    throw new InvalidArgumentError("onError", `must be a function, not ${printable(options.onError)}`);
  }
  return {
    registry: new EventRegistry(checkDefinitions(options.events), ids),
    clock: options.clock ?? systemClock,
    ids,
    lingerMs,
    timeoutMs,
    idempotencyWindowMs:
      checkInteger(options.idempotencyWindowMs, "idempotencyWindowMs", 1) ?? idempotencyWindowMsDefault,
    onError: options.onError ?? warn,
  };
}
