/** `strata log`: the history of one stream - who, when, why and what, and with `-p` what it changed. */

import { printable } from "../errors.ts";
import type { HistoryEntry } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { deciderOption, openWithDecider, stateNote } from "./decider-file.ts";
import { CommandFailure, type ExitCode, exitCodes } from "./failure.ts";
import {
  changeLines,
  changesJson,
  colorOption,
  eventJson,
  eventText,
  type Paint,
  painter,
  valueText,
} from "./history-text.ts";
import { momentOf, momentOptions, readerAt } from "./moment.ts";
import { personalOptions, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { visible } from "./text.ts";

export const logCommand: Command = {
  name: "log",
  summary: "Show the history of one stream, the newest first",
  positionals: ["STREAM"],
  options: [
    { name: "patch", short: "p", text: "show what each event changed in the state" },
    deciderOption,
    { name: "from-version", value: "N", text: "begin at this version" },
    { name: "limit", short: "n", value: "N", text: "at most so many events" },
    { name: "reverse", text: "the oldest first" },
    ...momentOptions,
    colorOption,
    ...personalOptions,
    ...storeOptions,
  ],
  notes: [
    "Who is the actor in an event's metadata; why is the event that its causationId names, and what led to that, as far as they are found near enough in the log.",
    stateNote,
    "With --json a line is a JSON object: the event, its causes, and with -p the changes by JSON pointer.",
    readingNote,
  ],
  examples: [
    "strata log order-42 --url file:.data/shop -p --limit 10",
    "strata log order-42 --url file:.data/shop -p --decider src/orders.ts#orders",
  ],
  run,
};

type Entry = HistoryEntry<HistoryEntry["event"], unknown>;

function causeText({ causes, correlationId, event }: Entry): string {
  if (causes.length === 0) return correlationId === event.id ? "" : `correlation ${visible(correlationId)}`;
  const chain = causes.map((cause) => (cause.event === undefined ? visible(cause.id) : eventText(cause.event)));
  return `${chain.join(", because of ")}; correlation ${visible(correlationId)}`;
}

function readableEntry(entry: Entry, patch: boolean, paint: Paint): string {
  const { event, actor, changes, changesOmitted } = entry;
  const { streamName, version, position, type, occurredAt, recordedAt } = event;
  const why = causeText(entry);
  const lines = [
    paint("yellow", `version ${version} of ${visible(streamName)}, position ${position}`),
    ...(actor === undefined ? [] : [`Who:   ${visible(actor)}`]),
    `When:  ${recordedAt.toISOString()}${occurredAt === undefined ? "" : `, happened ${occurredAt.toISOString()}`}`,
    ...(why === "" ? [] : [`Why:   ${why}`]),
    "",
    `    ${paint("cyan", visible(type))}  ${valueText(event.data)}`,
  ];
  const changed =
    patch && changes.length + changesOmitted > 0 ? `\n${changeLines(changes, changesOmitted, paint, "    ")}` : "";
  return `${lines.join("\n")}\n${changed}`;
}

function jsonEntry({ event, actor, correlationId, causes, changes, changesOmitted }: Entry, patch: boolean): string {
  const why = causes.map(({ id, event: cause }) => ({
    id,
    ...(cause === undefined ? {} : { event: eventJson(cause) }),
  }));
  const what = patch ? { changes: changesJson(changes), changesOmitted } : {};
  return `${JSON.stringify({ event: eventJson(event), actor: actor ?? null, correlationId, causes: why, ...what })}\n`;
}

async function run(given: Arguments): Promise<ExitCode> {
  const streamName = given.positionals[0] ?? "";
  const fromVersion = given.integer("from-version", 1);
  const limit = given.integer("limit", 1);
  const moment = momentOf(given);
  const patch = given.flag("patch");
  const { store: opened, decider } = await openWithDecider(given);
  await using store = opened;
  const reader = readerAt(store, moment);
  if ((await reader.streamInfo(streamName)) === undefined) {
    const when = moment === undefined ? "" : " as of then";
    throw new CommandFailure("not-found", `There is no stream ${printable(streamName)}${when}`);
  }
  const entries = reader.history(streamName, {
    direction: given.flag("reverse") ? "forwards" : "backwards",
    ...decider,
    ...(fromVersion === undefined ? {} : { fromVersion }),
    ...(limit === undefined ? {} : { limit }),
    ...(patch ? {} : { changesMax: 0 }),
  });
  const [paint, json] = [painter(given), given.flag("json")];
  const output = standardOutput();
  let isFirst = true;
  for await (const entry of entries) {
    const text = json ? jsonEntry(entry, patch) : `${isFirst ? "" : "\n"}${readableEntry(entry, patch, paint)}`;
    isFirst = false;
    const written = output.write(text);
    if (written !== undefined) await written;
  }
  await output.close();
  return exitCodes.ok;
}
