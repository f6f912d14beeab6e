/** `strata streams`: which streams there are. */

import type { ListStreamsOptions, StreamInfo } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { chosenStore, openExisting, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { visible } from "./text.ts";

export const streamsCommand: Command = {
  name: "streams",
  summary: "List the streams of a store, sorted by name",
  positionals: [],
  options: [
    { name: "category", value: "NAME", text: "only streams of this category" },
    { name: "prefix", value: "P", text: "only streams whose names begin so" },
    { name: "limit", value: "N", text: "at most so many streams" },
    ...storeOptions,
  ],
  notes: [
    "A line has the version (how many events the stream has had), the position and the time of its newest event, and its name. With --json a line is a JSON object.",
    readingNote,
  ],
  examples: ["strata streams --url file:.data/shop --category order --limit 20"],
  run,
};

function readableLine({ streamName, version, lastPosition, lastRecordedAt }: StreamInfo): string {
  return `${version}  @${lastPosition}  ${lastRecordedAt.toISOString()}  ${visible(streamName)}\n`;
}

function listOptions(given: Arguments): ListStreamsOptions {
  const category = given.text("category");
  const prefix = given.text("prefix");
  const limit = given.integer("limit", 1);
  return {
    ...(category === undefined ? {} : { category }),
    ...(prefix === undefined ? {} : { prefix }),
    ...(limit === undefined ? {} : { limit }),
  };
}

async function run(given: Arguments): Promise<ExitCode> {
  const options = listOptions(given);
  const lineOf = given.flag("json") ? (info: StreamInfo): string => `${JSON.stringify(info)}\n` : readableLine;
  await using store = await openExisting(chosenStore(given));
  const output = standardOutput();
  for await (const info of store.listStreams(options)) {
    const written = output.write(lineOf(info));
    if (written !== undefined) await written;
  }
  await output.close();
  return exitCodes.ok;
}
