/** `strata archive`: moves the events of a stream into the archive beside the database. */

import type { Arguments } from "./arguments.ts";
import {
  changeNote,
  changeOptions,
  changeStream,
  expectedVersionOf,
  expectedVersionOption,
  metadataOf,
  streamLine,
} from "./change-store.ts";
import type { Command } from "./command.ts";
import type { ExitCode } from "./failure.ts";
import { formatBytes, formatCount } from "./text.ts";

export const archiveCommand: Command = {
  name: "archive",
  summary: "Move the events of a stream into the archive",
  positionals: ["STREAM"],
  options: [
    { name: "before", value: "VERSION", text: "the first version to leave where it is (default: all are moved)" },
    expectedVersionOption,
    ...changeOptions,
  ],
  notes: [
    "The events become compressed objects below archive/, beside the database. The stream is read as before, an object at a time; the log shows a gap once strata compact has dropped them there. Broken off, it goes on from there the next time.",
    changeNote,
  ],
  examples: ["strata archive order-2019-7 --url s3://bucket/shop"],
  run,
};

async function run(given: Arguments): Promise<ExitCode> {
  const [streamName = ""] = given.positionals;
  const beforeVersion = given.integer("before", 1);
  const before = beforeVersion === undefined ? {} : { beforeVersion };
  const options = { ...before, expectedVersion: expectedVersionOf(given), ...metadataOf(given) };
  return await changeStream(given, streamName, async (store) => {
    const json = await store.archiveStream(streamName, options);
    const { archivedBefore, events, bytes, objects, objectBytes } = json;
    return {
      lines: [
        streamLine(streamName),
        `archived  the events before version ${archivedBefore}`,
        `moved     ${formatCount(events)} events of ${formatBytes(bytes)} into ${formatCount(objects)} objects of ${formatBytes(objectBytes)}`,
      ],
      json,
    };
  });
}
