/** `strata trace`: all events of a correlation id, as trees of what led to what. */

import { printable } from "../errors.ts";
import type { Trace, TraceNode } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { CommandFailure, type ExitCode, exitCodes } from "./failure.ts";
import { colorOption, eventJson, type Paint, painter } from "./history-text.ts";
import { momentOf, momentOptions, readerAt } from "./moment.ts";
import { chosenStore, openExisting, personalOptions, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatCount, formatCounted, visible } from "./text.ts";

export const traceCommand: Command = {
  name: "trace",
  summary: "Show all events of a correlation id as trees of causes",
  positionals: ["CORRELATION-ID"],
  options: [
    { name: "from-position", value: "N", text: "search from this position on" },
    { name: "to-position", value: "N", text: "search up to this position" },
    { name: "limit", short: "n", value: "N", text: "at most so many events (default: 10000)" },
    ...momentOptions,
    colorOption,
    ...personalOptions,
    ...storeOptions,
  ],
  notes: [
    "A line has the type, the stream with the version, the position, the time of recording and the actor of an event; below it, indented, what it led to. An event without a correlation id has its own id for one, which is what those carry that it led to.",
    "There is no index of correlation ids: the log is searched, from ten minutes before the time that is in the id where it is a UUID v7, else from the beginning. --from-position and --to-position make it shorter.",
    "With --json a line is a JSON object for each event, with its depth in the tree.",
    readingNote,
  ],
  examples: ["strata trace 019aa7b0-1f6e-7000-8a53-5fd1c3c1a0de --url file:.data/shop"],
  run,
};

interface Line {
  readonly node: TraceNode;
  readonly depth: number;
  /** What stands before the event, and before what it led to. */
  readonly lead: string;
  readonly below: string;
}

/** The nodes in the order of reading; without recursion, because chains may be long. */
function* linesOf(roots: readonly TraceNode[]): Generator<Line> {
  const waiting: Line[] = roots.map((node) => ({ node, depth: 0, lead: "", below: "" })).reverse();
  for (let line = waiting.pop(); line !== undefined; line = waiting.pop()) {
    yield line;
    const { effects } = line.node;
    for (let index = effects.length - 1; index >= 0; index -= 1) {
      const node = effects[index];
      const isLast = index === effects.length - 1;
      const { below, depth } = line;
      const lead = `${below}${isLast ? "└─ " : "├─ "}`;
      if (node !== undefined)
        waiting.push({ node, depth: depth + 1, lead, below: `${below}${isLast ? "   " : "│  "}` });
    }
  }
}

function readableLine({ node: { event }, lead }: Line, paint: Paint): string {
  const { type, streamName, version, position, recordedAt, metadata } = event;
  const where = `${visible(streamName)} ${version}  @${position}  ${recordedAt.toISOString()}`;
  const actor = metadata.actor === undefined ? "" : `  ${visible(metadata.actor)}`;
  return `${paint("dim", lead)}${paint("cyan", visible(type))}  ${where}${actor}\n`;
}

function searchedText({ fromPosition, toPosition, complete }: Trace): string {
  const where = `positions ${formatCount(fromPosition)} to ${formatCount(toPosition)}`;
  return complete ? where : `${where}, and there is more to search`;
}

async function run(given: Arguments): Promise<ExitCode> {
  const correlationId = given.positionals[0] ?? "";
  const fromPosition = given.integer("from-position", 1);
  const toPosition = given.integer("to-position", 1);
  const eventsMax = given.integer("limit", 1);
  const moment = momentOf(given);
  await using store = await openExisting(chosenStore(given), { hide: given.flag("hide-personal") });
  const trace = await readerAt(store, moment).trace(correlationId, {
    ...(fromPosition === undefined ? {} : { fromPosition }),
    ...(toPosition === undefined ? {} : { toPosition }),
    ...(eventsMax === undefined ? {} : { eventsMax }),
  });
  if (trace.events === 0) {
    const problem = `There is no event of the correlation id ${printable(correlationId)} (${searchedText(trace)})`;
    throw new CommandFailure("not-found", problem);
  }
  const paint = painter(given);
  const json = given.flag("json");
  const output = standardOutput();
  for (const line of linesOf(trace.roots)) {
    const text = json
      ? `${JSON.stringify({ depth: line.depth, event: eventJson(line.node.event) })}\n`
      : readableLine(line, paint);
    const written = output.write(text);
    if (written !== undefined) await written;
  }
  if (!json) await output.write(paint("dim", `${formatCounted(trace.events, "event")}; ${searchedText(trace)}\n`));
  await output.close();
  return exitCodes.ok;
}
