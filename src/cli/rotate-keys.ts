/** `strata rotate-keys`: wraps all keys of a store anew under another master key. */

import type { RotationReport } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { chosenStore, openToChangeKeys, storeOptions, takeoverNote, takeoverOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatCounted } from "./text.ts";

export const rotateKeysCommand: Command = {
  name: "rotate-keys",
  summary: "Wrap the keys of personal data anew, under another master key",
  positionals: [],
  options: [...takeoverOptions, ...storeOptions],
  notes: [
    "STRATA_MASTER_KEY holds the new master key, a comma, and the old one, both as base64 text. No event is written. It can be broken off and repeated; when it has ended with nothing damaged, the old master key has no more use in this store.",
    "Where a service writes to the store, give it both keys and call store.rotateKeys there.",
    takeoverNote,
  ],
  examples: ['STRATA_MASTER_KEY="$NEW,$OLD" strata rotate-keys --url file:.data/shop'],
  run,
};

function readable({ masterKeyId, rewrapped, unchanged, damaged }: RotationReport): string {
  const done = `${formatCounted(rewrapped, "key")} wrapped anew, ${unchanged} were so already; the master key is ${masterKeyId}.\n`;
  return damaged.length === 0 ? done : `${done}Damaged, and left as they are: ${damaged.join(", ")}.\n`;
}

async function run(given: Arguments): Promise<ExitCode> {
  await using store = await openToChangeKeys(chosenStore(given), given);
  const report = await store.rotateKeys();
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify(report)}\n` : readable(report));
  await output.close();
  return report.damaged.length === 0 ? exitCodes.ok : exitCodes.failed;
}
