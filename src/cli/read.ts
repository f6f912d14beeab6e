/** `strata read`: the events of one stream, for people or for programs. */

import { printable } from "../errors.ts";
import type { EventReader, RecordedEvent } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { CommandFailure, type ExitCode, exitCodes, usageFailure } from "./failure.ts";
import { chosenStore, openExisting, personalOptions, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { toPlainData } from "./plain-data.ts";
import { dataText, visible } from "./text.ts";
import { parseTime } from "./time.ts";

export const readCommand: Command = {
  name: "read",
  summary: "Show the events of one stream",
  positionals: ["STREAM"],
  options: [
    { name: "from-version", value: "N", text: "begin at this version" },
    { name: "backwards", text: "the newest first" },
    { name: "limit", value: "N", text: "at most so many events" },
    {
      name: "as-of",
      value: "WHEN",
      text: "as the stream was at a position (a number) or a time of recording (2026-01-31 or 2026-01-31T12:00:00Z)",
    },
    ...personalOptions,
    ...storeOptions,
  ],
  notes: [
    "A line has the version, the position, the time of recording, the type and the data; then, where there are any, the business's own time, which personal fields are null because their subject was forgotten or they are hidden, the tags and the metadata. With --json a line is a JSON object with all of the event. What JSON cannot say is written readably: a Date as RFC 3339 text, a bigint as digits, bytes as base64, a Set as a list, a Map as an object or as pairs.",
    readingNote,
  ],
  examples: ["strata read order-42 --url file:.data/shop --backwards --limit 10"],
  run,
};

function momentOf(given: Arguments): Date | number | undefined {
  const text = given.text("as-of");
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const moment = parseTime(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
  if (moment !== undefined) return moment;
  throw usageFailure(`--as-of must be a position or a time such as 2026-01-31T12:00:00Z, not ${printable(text)}`);
}

function jsonLine(event: RecordedEvent): string {
  const data = toPlainData(event.data).value;
  return `${JSON.stringify({ ...event, data, metadata: toPlainData(event.metadata).value })}\n`;
}

function readableLine(event: RecordedEvent): string {
  const parts = [
    String(event.version),
    `@${event.position}`,
    event.recordedAt.toISOString(),
    event.type,
    dataText(event.data),
  ];
  if (event.occurredAt !== undefined) parts.push(`occurredAt=${event.occurredAt.toISOString()}`);
  if (event.personal?.erased !== undefined)
    parts.push(`${event.personal.erased}=${JSON.stringify(event.personal.fields)}`);
  if (event.tags.length > 0) parts.push(`tags=${JSON.stringify(event.tags)}`);
  if (Object.keys(event.metadata).length > 0) parts.push(`metadata=${dataText(event.metadata)}`);
  return `${visible(parts.join("  "))}\n`;
}

async function run(given: Arguments): Promise<ExitCode> {
  const streamName = given.positionals[0] ?? "";
  const fromVersion = given.integer("from-version", 1);
  const limit = given.integer("limit", 1);
  const moment = momentOf(given);
  const chosen = chosenStore(given);
  await using store = await openExisting(chosen, given.flag("hide-personal"));
  const reader: EventReader = moment === undefined ? store : store.asOf(moment);
  if ((await reader.streamInfo(streamName)) === undefined) {
    const when = moment === undefined ? "" : " as of then";
    throw new CommandFailure("not-found", `There is no stream ${printable(streamName)}${when}`);
  }
  const output = standardOutput();
  const events = reader.readStream(streamName, {
    direction: given.flag("backwards") ? "backwards" : "forwards",
    ...(fromVersion === undefined ? {} : { fromVersion }),
    ...(limit === undefined ? {} : { limit }),
  });
  const lineOf = given.flag("json") ? jsonLine : readableLine;
  for await (const event of events) {
    const written = output.write(lineOf(event));
    if (written !== undefined) await written;
  }
  await output.close();
  return exitCodes.ok;
}
