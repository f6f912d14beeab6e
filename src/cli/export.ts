/** `strata export`: events as CloudEvents, such that importing them elsewhere gives the same streams. */

import type { EventFilter } from "../index.ts";
import { isReserved } from "../vocabulary/names.ts";
import type { Arguments } from "./arguments.ts";
import { cloudEventLine } from "./cloud-event-line.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { chosenStore, openExisting, personalOptions, readingNote, storeOptions } from "./open-store.ts";
import { fileOutput, standardOutput } from "./output.ts";
import { formatCounted } from "./text.ts";

export const exportCommand: Command = {
  name: "export",
  summary: "Write events as CloudEvents 1.0, one JSON object a line",
  positionals: [],
  options: [
    { name: "output", value: "FILE", text: "write to FILE, compressed if it ends in .gz (default: standard output)" },
    { name: "category", value: "NAME", text: "only streams of this category" },
    { name: "type", value: "T", repeats: true, text: "only events of this type; several: of any of them" },
    { name: "tag", value: "T", repeats: true, text: "only events with this tag; several: with all of them" },
    { name: "from-position", value: "N", text: "begin at this position" },
    ...personalOptions,
    ...storeOptions,
  ],
  notes: [
    "Importing the lines into another store gives the same streams, ids, types, data, times (occurredAt, as time), metadata and tags. When the event was recorded is in the extension recordedat, for information: the importing store records anew. A schema version other than 1 is in strataschemaversion; import cannot keep it, and warns.",
    "Nothing is lost of data that JSON cannot say. Data that is a Uint8Array becomes data_base64. Elsewhere a Date is written as RFC 3339 text, a bigint as digits, bytes as base64, a Set as a list, a Map as an object or as pairs, and the extension stratatypes says which is which. Metadata that does not fit an extension of its own is in stratametadata. With --json, which is the only format, nothing changes.",
    "Personal fields are encrypted in the store, and written as plain text here: stratapersonal names those of an event, and import refuses such a line, because it would store them as they are. Fields that are null, since their subject was forgotten or with --hide-personal, are in strataerased. An event whose key is lost, or that STRATA_MASTER_KEY does not open, ends the export.",
    "It goes along the log: events that were dropped or archived are not there any more, and what the store records of itself, in streams that begin with $, is left out.",
    readingNote,
  ],
  examples: ["strata export --url file:.data/shop --category order --output orders.jsonl.gz"],
  run,
};

function filterOf(given: Arguments): EventFilter | undefined {
  const category = given.text("category");
  const types = given.texts("type");
  const tags = given.texts("tag");
  if (category === undefined && types.length === 0 && tags.length === 0) return undefined;
  return {
    ...(category === undefined ? {} : { categories: [category] }),
    ...(types.length === 0 ? {} : { types }),
    ...(tags.length === 0 ? {} : { tags }),
  };
}

async function run(given: Arguments): Promise<ExitCode> {
  const filter = filterOf(given);
  const fromPosition = given.integer("from-position", 1) ?? 1;
  const path = given.text("output");
  await using store = await openExisting(chosenStore(given), given.flag("hide-personal"));
  const output = path === undefined ? standardOutput() : await fileOutput(path);
  let events = 0;
  for await (const event of store.readAll({ fromPosition, ...(filter === undefined ? {} : { filter }) })) {
    // What the store says of itself is about this store, and none of what another could take over.
    if (isReserved(event.streamName)) continue;
    const written = output.write(cloudEventLine(event));
    if (written !== undefined) await written;
    events += 1;
  }
  await output.close();
  if (path !== undefined) process.stderr.write(`Exported ${formatCounted(events, "event")} to ${path}.\n`);
  return exitCodes.ok;
}
