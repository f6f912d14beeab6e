/** `strata import`: CloudEvents into a store. Each event is imported once, however often the command is run or stopped. */

import { printable } from "../errors.ts";
import type { EventStore } from "../index.ts";
import { systemClock } from "../runtime/clock.ts";
import { nameProblem } from "../vocabulary/names.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { CommandFailure, type ExitCode, exitCodes, OutputClosed, usageFailure } from "./failure.ts";
import { type BatchOptions, batchEventsDefault, batchEventsMax, batchesOf } from "./import-batches.ts";
import { Importer, refusedListedMax } from "./importer.ts";
import { type Input, openInput } from "./input.ts";
import { linesOf } from "./lines.ts";
import { chosenStore, openOrCreate, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { Progress } from "./progress.ts";
import { ledgerBounds, StreamLedger } from "./stream-ledger.ts";
import { formatCount, formatCounted, formatSeconds, visible } from "./text.ts";

export const importCommand: Command = {
  name: "import",
  summary: "Import CloudEvents 1.0 into a store, each event once",
  positionals: ["FILE"],
  options: [
    { name: "category", value: "NAME", text: "the stream is NAME-subject (default: the subject as it is)" },
    { name: "skip-bad", text: "go on behind lines that are refused; they are counted, and the first ten are listed" },
    {
      name: "batch",
      value: "N",
      text: `so many events are committed together, 1 to ${batchEventsMax} (default: ${batchEventsDefault})`,
    },
    ...storeOptions,
  ],
  notes: [
    "FILE has one CloudEvent in JSON a line, plain or compressed with gzip; - is standard input. A store that does not exist is made. A service that is writing to the same store is fenced.",
    "subject names the stream. id, type, data (or data_base64) and time stay as they are; time becomes occurredAt. An extension tags, a list or text with commas, becomes the tags. All other attributes, source among them, become metadata; correlationid and causationid become correlationId and causationId. specversion, datacontenttype and recordedat (which export writes) are left out.",
    `An event whose id its stream holds already is skipped, so that a second run imports nothing twice and one that was stopped, even killed, goes on. In streams of more than ${formatCount(ledgerBounds.idsPerStreamMax)} events that needs the input in its former order, or repetitions near each other. Within a stream the order of the lines is kept; between streams only from batch to batch.`,
    "A line for a stream that is deleted is refused, and so is one for a stream that was truncated, unless the stream still has an event of that id: whether it was among those that are gone, nobody can tell.",
    "Import knows no definitions, so nothing is encrypted: a line whose personal fields were exported as plain text (stratapersonal) is refused. Append such events in a program that defines them. Where streams that the input names have personal data already, STRATA_MASTER_KEY must be set, because their events are read for their ids.",
    "The first line that is refused ends the import; what stands before it is imported. With --skip-bad such lines do not count as a failure.",
  ],
  examples: [
    "strata import events.jsonl.gz --url file:.data/shop --category order",
    "curl -s https://example.com/events | strata import - --skip-bad --json",
  ],
  run,
};

function batchOptions(given: Arguments): BatchOptions {
  const category = given.text("category");
  const problem = category?.includes("-") === true ? 'must not hold a "-"' : nameProblem(category ?? "none");
  if (problem !== undefined) throw usageFailure(`--category ${problem}: ${printable(category)}`);
  const eventsMax = given.integer("batch", 1, batchEventsMax) ?? batchEventsDefault;
  return { category, eventsMax, skipBad: given.flag("skip-bad") };
}

async function run(given: Arguments): Promise<ExitCode> {
  const options = batchOptions(given);
  const chosen = chosenStore(given);
  const input = await openInput(given.positionals[0] ?? "-");
  await using store = await openOrCreate(chosen);
  return await importInto(store, input, options, given.flag("json"));
}

async function importInto(store: EventStore, input: Input, options: BatchOptions, json: boolean): Promise<ExitCode> {
  const progress = new Progress(systemClock, process.stderr);
  const show = (): void => {
    const { imported, alreadyThere } = importer.counts;
    const fraction = input.sizeBytes === undefined ? undefined : input.readBytes / Math.max(1, input.sizeBytes);
    progress.show({ events: imported + alreadyThere, fraction });
  };
  const ledger = new StreamLedger(store, (await store.lastPosition()) === 0);
  const importer: Importer = new Importer(store, ledger, show);
  const failure = await importer.run(batchesOf(linesOf(input.pieces()), options)).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  progress.end();
  await writeSummary(importer, progress.elapsedMs, json).catch((error: unknown) => {
    // What became of the import matters more than whether somebody reads the summary.
    if (failure === undefined && !(error instanceof OutputClosed)) throw error;
  });
  if (failure !== undefined) throw failure.error;
  const { bad } = importer.counts;
  if (bad > 0 && !options.skipBad) {
    const [first] = importer.refused;
    throw new CommandFailure("bad-input", `Line ${first?.line} is refused: ${visible(first?.reason ?? "")}`);
  }
  listRefused(importer);
  return exitCodes.ok;
}

function listRefused({ refused, counts }: Importer): void {
  for (const { line, reason } of refused) process.stderr.write(`strata: line ${line} is skipped: ${visible(reason)}\n`);
  if (counts.bad > refusedListedMax) {
    process.stderr.write(`strata: and ${formatCounted(counts.bad - refusedListedMax, "more line")}\n`);
  }
}

async function writeSummary({ counts, refused }: Importer, elapsedMs: number, json: boolean): Promise<void> {
  const { imported, alreadyThere, bad } = counts;
  const seconds = elapsedMs / 1_000;
  const eventsPerSecond = Math.round(imported / Math.max(0.001, seconds));
  const output = standardOutput();
  if (json) {
    const summary = { ...counts, seconds: Number(seconds.toFixed(3)), eventsPerSecond, refused };
    await output.write(`${JSON.stringify(summary)}\n`);
  } else {
    const rate = `${formatCount(eventsPerSecond)} events/s`;
    const others = `already there: ${formatCount(alreadyThere)}, bad lines: ${formatCount(bad)}`;
    await output.write(
      `Imported ${formatCounted(imported, "event")} in ${formatSeconds(elapsedMs)} (${rate}); ${others}.\n`,
    );
  }
  await output.close();
}
