/** `strata undelete`: takes the deletion of a stream back, while that is possible. */

import type { Arguments } from "./arguments.ts";
import { changeNote, changeOptions, changeStream, metadataOf, streamLine } from "./change-store.ts";
import type { Command } from "./command.ts";
import type { ExitCode } from "./failure.ts";

export const undeleteCommand: Command = {
  name: "undelete",
  summary: "Take the deletion of a stream back",
  positionals: ["STREAM"],
  options: changeOptions,
  notes: [
    "It works for thirty days after the deletion, or for as long as the service that deleted it has set.",
    changeNote,
  ],
  examples: ["strata undelete cart-42 --url file:.data/shop --actor kim"],
  run,
};

async function run(given: Arguments): Promise<ExitCode> {
  const [streamName = ""] = given.positionals;
  return await changeStream(given, streamName, async (store) => {
    const json = await store.undeleteStream(streamName, metadataOf(given));
    return { lines: [streamLine(streamName), `version   ${json.streamVersion}`], json };
  });
}
