/**
 * The history of one stream: its events with what they changed, and why they came about. States are folded forwards; to read
 * backwards, states are kept at intervals on the way there, and the stretch between two of them is folded again.
 */

import { checkBackwards, checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import { checkName } from "../vocabulary/names.ts";
import { Causes } from "./causes.ts";
import type { HistoryEntry } from "./face.ts";
import type { Look } from "./look.ts";
import { changesMaxDefault, diffStates } from "./state-diff.ts";
import { StateFold, type Step } from "./state-folds.ts";

/** How many versions are folded at once to read backwards. */
const stretchVersions = 256;
const causesMaxDefault = 8;

type Entry = HistoryEntry<HistoryEntry["event"], unknown>;

/** The entries of a stream's history. Throws `invalid-argument` at once. */
export function streamHistory(look: Look, streamName: unknown, options: unknown): AsyncGenerator<Entry> {
  const name = checkName(streamName, "streamName");
  const known = ["decider", "fromVersion", "direction", "limit", "changesMax", "causesMax", "signal"];
  const given = checkOptions(options, known);
  const fromVersion = checkInteger(given.fromVersion, "fromVersion", 1);
  const backwards = checkBackwards(given.direction);
  const limit = checkInteger(given.limit, "limit", 1) ?? Number.POSITIVE_INFINITY;
  const changesMax = checkInteger(given.changesMax, "changesMax", 0) ?? changesMaxDefault;
  const causesMax = checkInteger(given.causesMax, "causesMax", 0) ?? causesMaxDefault;
  const signal = checkSignal(given.signal);
  const fold = new StateFold(look, given.decider, name);
  const causes = new Causes(look);
  const entryOf = async ({ event, before, after }: Step): Promise<Entry> => ({
    event,
    actor: event.metadata.actor,
    correlationId: event.metadata.correlationId ?? event.id,
    causes: await causes.of(event, causesMax, signal),
    before,
    after,
    ...diffStates(before, after, changesMax),
  });
  return (async function* (): AsyncGenerator<Entry> {
    const newest = (await look.reader.streamInfo(name))?.version ?? 0;
    const range = { look, fold, name, newest, fromVersion, signal };
    const steps = backwards ? stepsBackwards({ ...range, limit }) : stepsForwards(range);
    let left = limit;
    for await (const step of steps) {
      yield await entryOf(step);
      left -= 1;
      const { part } = step.event;
      const isLastPart = part === undefined || part.index === (backwards ? 0 : part.count - 1);
      // Behind all parts of a split event, as reads of streams end.
      if (left <= 0 && isLastPart) return;
    }
  })();
}

interface Range {
  readonly look: Look;
  readonly fold: StateFold;
  readonly name: string;
  readonly newest: number;
  readonly fromVersion: number | undefined;
  readonly signal: AbortSignal | undefined;
}

async function* stepsForwards({ look, fold, name, newest, fromVersion = 1, signal }: Range): AsyncGenerator<Step> {
  if (fromVersion > newest && look.order === "recorded") return;
  const { version, state } = await fold.beginning(name, signal);
  if (look.order === "occurred") {
    for await (const step of fold.steps(name, version + 1, newest, state, signal))
      if (step.event.version >= fromVersion) yield step;
    return;
  }
  const base = fromVersion - 1 <= version ? state : await fold.at(name, fromVersion - 1, signal);
  yield* fold.steps(name, Math.max(fromVersion, version + 1), newest, base, signal);
}

async function* stepsBackwards(range: Range & { readonly limit: number }): AsyncGenerator<Step> {
  const { look, fold, name, newest, limit, signal } = range;
  const upper = Math.min(range.fromVersion ?? newest, newest);
  if (upper === 0) return;
  if (look.order === "occurred") {
    const { version, state } = await fold.beginning(name, signal);
    const steps = await Array.fromAsync(fold.steps(name, version + 1, newest, state, signal));
    yield* steps.filter(({ event }) => event.version <= upper).reverse();
    return;
  }
  const { truncatedBefore = 1 } = (await look.reader.streamInfo(name)) ?? {};
  let bases: ReadonlyMap<number, unknown> | undefined;
  let size = Math.min(limit, stretchVersions);
  for (let to = upper; to >= truncatedBefore; to -= size, size = stretchVersions) {
    const before = Math.max(truncatedBefore - 1, to - size);
    if (to < upper) bases ??= await statesAt(range, to);
    const base = bases?.get(before) ?? (await fold.at(name, before, signal));
    yield* (await Array.fromAsync(fold.steps(name, before + 1, to, base, signal))).reverse();
  }
}

/** The states where the stretches below a version begin. */
async function statesAt({ fold, name, signal }: Range, below: number): Promise<ReadonlyMap<number, unknown>> {
  const states = new Map<number, unknown>();
  const { version, state } = await fold.beginning(name, signal);
  let next = below % stretchVersions;
  while (next < version) next += stretchVersions;
  for await (const { event, before } of fold.steps(name, version + 1, below, state, signal)) {
    // The event is the first one behind that version, or behind several where events cannot be seen.
    for (; event.version > next && next < below; next += stretchVersions) states.set(next, before);
  }
  return states;
}
