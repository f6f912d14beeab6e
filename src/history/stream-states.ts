/** Two questions about the state of one stream: what is different between two versions, and who set what. */

import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";
import { blameAll, blameChange, blamedParts } from "./blame-tree.ts";
import type { Blame, BlameLine, StreamDiff } from "./face.ts";
import type { Look } from "./look.ts";
import { changesMaxDefault, diffStates } from "./state-diff.ts";
import { StateFold } from "./state-folds.ts";

const linesMaxDefault = 10_000;

/** A version that a stream has. Throws `invalid-argument` for one that it does not. */
function versionWithin(value: unknown, argument: string, newest: number): number | undefined {
  const version = checkInteger(value, argument, 0);
  if (version === undefined || version <= newest) return version;
  throw new InvalidArgumentError(
    argument,
    `is behind the newest version of the stream, which is ${newest}: ${version}`,
  );
}

/** See `HistoryReader.diff`. */
export async function diffStream(
  look: Look,
  streamName: unknown,
  options: unknown,
): Promise<StreamDiff<unknown> | undefined> {
  const name = checkName(streamName, "streamName");
  const given = checkOptions(options, ["decider", "fromVersion", "toVersion", "changesMax", "signal"]);
  const changesMax = checkInteger(given.changesMax, "changesMax", 0) ?? changesMaxDefault;
  const signal = checkSignal(given.signal);
  const fold = new StateFold(look, given.decider, name);
  const from = checkInteger(given.fromVersion, "fromVersion", 0) ?? 0;
  const to = checkInteger(given.toVersion, "toVersion", 0);
  if (to !== undefined && from > to)
    throw new InvalidArgumentError(
      "fromVersion",
      `must be at most toVersion, which is ${printable(to)}: ${printable(from)}`,
    );
  const newest = (await look.reader.streamInfo(name))?.version;
  if (newest === undefined) return undefined;
  const fromVersion = versionWithin(from, "fromVersion", newest) ?? 0;
  const toVersion = versionWithin(to, "toVersion", newest) ?? newest;
  const before = await fold.at(name, fromVersion, signal);
  const after = await fold.at(name, toVersion, signal);
  return { streamName: name, fromVersion, toVersion, before, after, ...diffStates(before, after, changesMax) };
}

/** See `HistoryReader.blame`. */
export async function blameStream(
  look: Look,
  streamName: unknown,
  options: unknown,
): Promise<Blame<RecordedEvent, unknown> | undefined> {
  const name = checkName(streamName, "streamName");
  const given = checkOptions(options, ["decider", "toVersion", "linesMax", "signal"]);
  const linesMax = checkInteger(given.linesMax, "linesMax", 0) ?? linesMaxDefault;
  const signal = checkSignal(given.signal);
  const fold = new StateFold(look, given.decider, name);
  checkInteger(given.toVersion, "toVersion", 0);
  const newest = (await look.reader.streamInfo(name))?.version;
  if (newest === undefined) return undefined;
  const version = versionWithin(given.toVersion, "toVersion", newest) ?? newest;
  const beginning = await fold.beginning(name, signal);
  // Of a version that is gone there is no state.
  let state = version < beginning.version ? await fold.at(name, version, signal) : beginning.state;
  let tree = blameAll<RecordedEvent | undefined>(undefined);
  for await (const { event, before, after } of fold.steps(name, beginning.version + 1, version, state, signal)) {
    tree = blameChange(tree, before, after, event);
    state = after;
  }
  const lines: BlameLine[] = [];
  let found = 0;
  for (const { path, value, by } of blamedParts(state, tree)) {
    found += 1;
    if (lines.length < linesMax) lines.push({ path, value, ...(by === undefined ? {} : { event: by }) });
  }
  return { streamName: name, version, state, lines, linesOmitted: found - lines.length };
}
