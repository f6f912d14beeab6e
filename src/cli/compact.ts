/** `strata compact`: one pass of the compactor over a store that nobody else writes to, and what it has come to. */

import type { CompactionReport, ReclaimPhase, ReclaimProgress, ReclaimReport } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { chosenStore, openWhenIdle, storeOptions, waitOption } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatBytes, formatCount, formatCounted, formatSeconds, visible } from "./text.ts";

export const compactCommand: Command = {
  name: "compact",
  summary: "Merge small pages and drop what is due, in a store that nobody writes to",
  positionals: [],
  options: [
    ...storeOptions,
    {
      name: "reclaim",
      text: "have the storage give the bytes back now: rewrites it all, and takes some 16 minutes",
    },
    waitOption,
  ],
  notes: [
    "A service that has the store open compacts it by itself, or by store.compact(); this command is for stores that were imported or are kept. It opens the store for writing, and does not begin while somebody else writes: a service is not disturbed. Snapshots are kept by the service, which has the deciders.",
    "Broken off at any time it leaves a whole store, and goes on from there the next time. The engine gives the bytes back some time after its own tables are merged. With --reclaim they are: what was replaced is kept by the engine for a quarter of an hour, which is waited for, and so is its collection; Ctrl-C ends the waiting, and what was merged stays merged.",
  ],
  examples: ["strata compact --url file:.data/shop", "strata compact --reclaim --url file:.data/shop"],
  run,
};

function readable(url: string, report: CompactionReport): string {
  const { logPagesMerged, logPagesWritten, streamPagesMerged, streamPagesWritten } = report;
  const { indexRowsMerged, indexRowsWritten, bytesFreed, fromPosition, toPosition, tookMs } = report;
  const merged = (from: number, to: number): string => `${formatCount(from)} merged into ${formatCount(to)}`;
  const rows: readonly (readonly [string, string])[] = [
    ["store", visible(url)],
    [
      "positions",
      fromPosition > toPosition ? "none new" : `${formatCount(fromPosition)} to ${formatCount(toPosition)}`,
    ],
    ["log pages", merged(logPagesMerged, logPagesWritten)],
    ["stream pages", merged(streamPagesMerged, streamPagesWritten)],
    ["index rows", merged(indexRowsMerged, indexRowsWritten)],
    ["dropped", formatCounted(report.eventsDropped, "event")],
    ["freed", formatBytes(Math.max(0, bytesFreed))],
    ["took", formatSeconds(tookMs)],
    ...reclaimedRows(report.reclaimed),
  ];
  const width = Math.max(...rows.map(([term]) => term.length));
  return rows.map(([term, text]) => `${term.padEnd(width)}  ${text}\n`).join("");
}

function reclaimedRows(reclaimed: ReclaimReport | undefined): readonly (readonly [string, string])[] {
  if (reclaimed === undefined) return [];
  const { objectsBefore, bytesBefore, objectsAfter, bytesAfter, objectsLeft, elapsedMs } = reclaimed;
  const amount = (objects: number, bytes: number): string => `${formatBytes(bytes)} in ${formatCount(objects)} objects`;
  return [
    ["storage", `${amount(objectsBefore, bytesBefore)}, now ${amount(objectsAfter, bytesAfter)}`],
    [
      "old objects",
      objectsLeft === 0 ? "all gone" : `${formatCount(objectsLeft)} are still held, by a replica's checkpoint`,
    ],
    ["waited", formatSeconds(elapsedMs)],
  ];
}

const phases: Readonly<Record<ReclaimPhase, string>> = {
  merging: "rewriting everything",
  waiting: "waiting until the engine lets go of what was replaced",
  collecting: "waiting for its collection",
};

/** Tells each phase, and once a minute what is left. */
function progressTeller(): (progress: ReclaimProgress) => void {
  let told = "";
  return ({ phase, objectsLeft, bytesLeft, waitMsMax }) => {
    const minutes = waitMsMax === undefined ? "" : `, for at most ${Math.ceil(waitMsMax / 60_000)} min more`;
    const key = `${phase}${minutes}`;
    if (key === told) return;
    told = key;
    process.stderr.write(
      `${phases[phase]}: ${formatCount(objectsLeft)} objects, ${formatBytes(bytesLeft)}${minutes}\n`,
    );
  };
}

async function run(given: Arguments): Promise<ExitCode> {
  const { url } = chosenStore(given).location;
  await using store = await openWhenIdle(given, "strata compact");
  const interruption = new AbortController();
  const onInterrupt = (): void => interruption.abort();
  process.once("SIGINT", onInterrupt);
  const reclaim = given.flag("reclaim");
  let report: CompactionReport;
  try {
    report = await store.compact({ signal: interruption.signal, reclaim, onProgress: progressTeller() });
  } catch (error) {
    if (!interruption.signal.aborted) throw error;
    process.stderr.write("Interrupted: what was merged stays merged\n");
    return exitCodes.failed;
  } finally {
    process.off("SIGINT", onInterrupt);
  }
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify({ url, ...report })}\n` : readable(url, report));
  await output.close();
  return exitCodes.ok;
}
