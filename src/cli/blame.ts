/** `strata blame`: which event last set each part of a stream's state. */

import { printable } from "../errors.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { deciderOption, openWithDecider, stateNote } from "./decider-file.ts";
import { CommandFailure, type ExitCode, exitCodes } from "./failure.ts";
import { colorOption, eventJson, painter, valueText } from "./history-text.ts";
import { momentOf, momentOptions, readerAt } from "./moment.ts";
import { personalOptions, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { toPlainData } from "./plain-data.ts";
import { visible } from "./text.ts";

export const blameCommand: Command = {
  name: "blame",
  summary: "Show which event last set each part of a stream's state",
  positionals: ["STREAM"],
  options: [
    deciderOption,
    { name: "version", value: "N", text: "of the state at this version (default: the newest)" },
    ...momentOptions,
    colorOption,
    ...personalOptions,
    ...storeOptions,
  ],
  notes: [
    "A line has the version, the time of recording, the type and the actor of the event that set the part to another value than it had; then the part, as a JSON pointer, and its value. What stands as it was at the beginning has a - instead. With --json a line is a JSON object.",
    stateNote,
    readingNote,
  ],
  examples: ["strata blame order-42 --url file:.data/shop --decider src/orders.ts#orders"],
  run,
};

async function run(given: Arguments): Promise<ExitCode> {
  const streamName = given.positionals[0] ?? "";
  const toVersion = given.integer("version", 0);
  const moment = momentOf(given);
  const { store: opened, decider } = await openWithDecider(given);
  await using store = opened;
  const options = { ...(toVersion === undefined ? {} : { toVersion }), ...decider };
  const blame = await readerAt(store, moment).blame(streamName, options);
  if (blame === undefined) throw new CommandFailure("not-found", `There is no stream ${printable(streamName)}`);
  const paint = painter(given);
  const rows = blame.lines.map(({ path, value, event }) => {
    if (event === undefined) return { who: ["-", "", "", ""], path, value };
    const { version, recordedAt, type, metadata } = event;
    return {
      who: [String(version), recordedAt.toISOString(), visible(type), visible(metadata.actor ?? "")],
      path,
      value,
    };
  });
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map(({ who }) => who[column]?.length ?? 0)));
  const output = standardOutput();
  const write = async (text: string): Promise<void> => {
    await output.write(text);
  };
  if (given.flag("json")) {
    for (const { path, value, event } of blame.lines) {
      const told = { path, value: toPlainData(value).value, event: event === undefined ? null : eventJson(event) };
      await write(`${JSON.stringify(told)}\n`);
    }
  } else {
    for (const { who, path, value } of rows) {
      const columns = who.map((text, column) => text.padEnd(widths[column] ?? 0)).filter((text) => text !== "");
      await write(`${paint("yellow", columns.join("  "))}  ${visible(path)}  ${valueText(value)}\n`);
    }
    if (blame.linesOmitted > 0) await write(paint("dim", `... and ${blame.linesOmitted} more parts\n`));
  }
  await output.close();
  return exitCodes.ok;
}
