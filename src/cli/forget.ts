/** `strata forget`: destroys a subject's keys, so that its personal data can no longer be read. */

import type { ForgetReceipt } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { chosenStore, openToChangeKeys, storeOptions, takeoverNote, takeoverOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatCounted, visible } from "./text.ts";

export const forgetCommand: Command = {
  name: "forget",
  summary: "Forget a subject: destroy the keys of its personal data, for good",
  positionals: ["SUBJECT"],
  options: [
    { name: "actor", value: "NAME", text: "who forgets it, for the receipt" },
    { name: "reason", value: "TEXT", text: "why, for the receipt, which is kept: do not name the subject" },
    ...takeoverOptions,
    ...storeOptions,
  ],
  notes: [
    "Its personal fields are null from then on, wherever they are read. It cannot be taken back. STRATA_MASTER_KEY must hold the store's master key, as base64 text; of several, with a comma between them, the first one wraps.",
    "The command does not know your projections, so it cannot take the subject out of documents that they keep: it names those. Where there are any, call store.forget in the service that runs them, or rebuild them.",
    takeoverNote,
  ],
  examples: ["strata forget customer:c1 --actor kim --reason 'asked by letter' --url file:.data/shop"],
  run,
};

function readable({ forgottenAt, position, events, streams, snapshots, unreached, replayed }: ForgetReceipt): string {
  const done = replayed ? "Was forgotten before" : "Forgotten";
  const concerned = `${formatCounted(events, "event")} in ${formatCounted(streams, "stream")}`;
  const lines = [
    `${done}: ${concerned}, ${formatCounted(snapshots, "snapshot")} removed, receipt at position ${position}, ${forgottenAt.toISOString()}.`,
  ];
  if (unreached.length > 0)
    lines.push(`Not looked into, because they do not run here: ${unreached.map(visible).join(", ")}.`);
  return `${lines.join("\n")}\n`;
}

async function run(given: Arguments): Promise<ExitCode> {
  const [actor, reason] = [given.text("actor"), given.text("reason")];
  const metadata = { ...(actor === undefined ? {} : { actor }), ...(reason === undefined ? {} : { reason }) };
  await using store = await openToChangeKeys(chosenStore(given), given);
  const receipt = await store.forget(given.positionals[0] ?? "", { metadata });
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify(receipt)}\n` : readable(receipt));
  await output.close();
  return exitCodes.ok;
}
