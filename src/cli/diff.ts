/** `strata diff`: what is different between two versions of a stream. */

import { printable } from "../errors.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { deciderOption, openWithDecider, stateNote } from "./decider-file.ts";
import { CommandFailure, type ExitCode, exitCodes, usageFailure } from "./failure.ts";
import { changeLines, changesJson, colorOption, painter } from "./history-text.ts";
import { momentOf, momentOptions, readerAt } from "./moment.ts";
import { personalOptions, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { visible } from "./text.ts";

const changesMaxDefault = 1_000;

export const diffCommand: Command = {
  name: "diff",
  summary: "Show what changed between two versions of a stream",
  positionals: ["STREAM", "A..B"],
  options: [
    deciderOption,
    { name: "limit", short: "n", value: "N", text: `at most so many changes (default: ${changesMaxDefault})` },
    ...momentOptions,
    colorOption,
    ...personalOptions,
    ...storeOptions,
  ],
  notes: [
    "A..B are two versions, the earlier one first: 3..7, or 3.. up to the newest, or ..7 from before the first event. A line has - for what was or + for what is, a JSON pointer and a value. With --json it is one JSON object.",
    stateNote,
    readingNote,
  ],
  examples: ["strata diff order-42 3..7 --url file:.data/shop --decider src/orders.ts#orders"],
  run,
};

function versionsOf(text: string): { readonly fromVersion: number; readonly toVersion?: number } {
  const parts = /^(\d{0,15})\.\.(\d{0,15})$/.exec(text);
  if (parts === null) throw usageFailure(`A..B must be two versions such as 3..7, not ${printable(text)}`);
  const fromVersion = Number(parts[1]);
  if (parts[2] === "") return { fromVersion };
  const toVersion = Number(parts[2]);
  if (fromVersion > toVersion) throw usageFailure(`A..B must have the earlier version first, not ${printable(text)}`);
  return { fromVersion, toVersion };
}

async function run(given: Arguments): Promise<ExitCode> {
  const [streamName = "", range = ""] = given.positionals;
  const versions = versionsOf(range);
  const changesMax = given.integer("limit", 1) ?? changesMaxDefault;
  const moment = momentOf(given);
  const { store: opened, decider } = await openWithDecider(given);
  await using store = opened;
  const options = { ...versions, changesMax, ...decider };
  const diff = await readerAt(store, moment).diff(streamName, options);
  if (diff === undefined) throw new CommandFailure("not-found", `There is no stream ${printable(streamName)}`);
  const { fromVersion, toVersion, changes, changesOmitted } = diff;
  const paint = painter(given);
  const output = standardOutput();
  if (given.flag("json")) {
    const told = { streamName, fromVersion, toVersion, changes: changesJson(changes), changesOmitted };
    await output.write(`${JSON.stringify(told)}\n`);
  } else if (changes.length > 0) {
    const name = visible(streamName);
    await output.write(`--- ${name} version ${fromVersion}\n+++ ${name} version ${toVersion}\n`);
    await output.write(changeLines(changes, changesOmitted, paint, ""));
  }
  await output.close();
  return exitCodes.ok;
}
