/** `strata truncate`: takes the first events of a stream from its readers, for good. */

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
import { type ExitCode, usageFailure } from "./failure.ts";

export const truncateCommand: Command = {
  name: "truncate",
  summary: "Take the first events of a stream away, for good",
  positionals: ["STREAM"],
  options: [
    { name: "before", value: "VERSION", text: "the first version to keep; one behind the last to keep none" },
    expectedVersionOption,
    ...changeOptions,
  ],
  notes: [
    "Readers of the stream do not see the events any more; strata compact drops them from storage. It cannot be taken back.",
    changeNote,
  ],
  examples: ["strata truncate cart-42 --before 100 --url file:.data/shop --actor kim"],
  run,
};

async function run(given: Arguments): Promise<ExitCode> {
  const [streamName = ""] = given.positionals;
  const beforeVersion = given.integer("before", 1);
  if (beforeVersion === undefined) throw usageFailure("--before is missing: --before VERSION");
  const options = { beforeVersion, expectedVersion: expectedVersionOf(given), ...metadataOf(given) };
  return await changeStream(given, streamName, async (store) => {
    const json = await store.truncateStream(streamName, options);
    const kept = `kept      versions ${json.truncatedBefore} to ${json.streamVersion}`;
    const none = "kept      no events";
    return { lines: [streamLine(streamName), json.truncatedBefore > json.streamVersion ? none : kept], json };
  });
}
