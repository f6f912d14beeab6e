/** `strata delete`: deletes a stream; for some time that can be taken back. */

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

export const deleteCommand: Command = {
  name: "delete",
  summary: "Delete a stream, and leave a tombstone",
  positionals: ["STREAM"],
  options: [expectedVersionOption, ...changeOptions],
  notes: [
    "The stream cannot be read or appended to any more, and its name is not used again. For thirty days strata undelete takes that back; after them strata compact drops the events.",
    changeNote,
  ],
  examples: ["strata delete cart-42 --expected-version 117 --url file:.data/shop --actor kim"],
  run,
};

async function run(given: Arguments): Promise<ExitCode> {
  const [streamName = ""] = given.positionals;
  const options = { expectedVersion: expectedVersionOf(given), ...metadataOf(given) };
  return await changeStream(given, streamName, async (store) => {
    const json = await store.deleteStream(streamName, options);
    const until = json.undeletableUntil?.toISOString();
    return {
      lines: [
        streamLine(streamName),
        `deleted   ${json.deletedAt.toISOString()}, at version ${json.streamVersion}`,
        until === undefined ? "undelete  not any more" : `undelete  until ${until}`,
      ],
      json,
    };
  });
}
