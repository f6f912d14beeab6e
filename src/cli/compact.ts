/** `strata compact`: one pass of the compactor over a store that nobody else writes to, and what it has come to. */

import { type CompactionReport, openEventStore } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { assertExists, chosenStore, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatBytes, formatCount, formatCounted, formatSeconds, visible } from "./text.ts";

const waitSecondsMax = 86_400;

export const compactCommand: Command = {
  name: "compact",
  summary: "Merge small pages and drop what is due, in a store that nobody writes to",
  positionals: [],
  options: [
    ...storeOptions,
    {
      name: "wait",
      value: "SECONDS",
      text: "how long to wait for its writer to go (default: 0, it is not waited for)",
    },
  ],
  notes: [
    "A service that has the store open compacts it by itself, or by store.compact(); this command is for stores that were imported or are kept. It opens the store for writing, and does not begin while somebody else writes: a service is not disturbed. Snapshots are kept by the service, which has the deciders.",
    "Broken off at any time it leaves a whole store, and goes on from there the next time. The engine gives the bytes back some time after its own tables are merged.",
  ],
  examples: ["strata compact --url file:.data/shop"],
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
  ];
  const width = Math.max(...rows.map(([term]) => term.length));
  return rows.map(([term, text]) => `${term.padEnd(width)}  ${text}\n`).join("");
}

async function run(given: Arguments): Promise<ExitCode> {
  const chosen = chosenStore(given);
  const waitSeconds = given.integer("wait", 0, waitSecondsMax) ?? 0;
  await assertExists(chosen);
  const { location, s3 } = chosen;
  const { url } = location;
  await using store = await openEventStore({
    ...{ url, s3: { ...s3, createBucket: false }, compaction: false, writerName: "strata compact" },
    ...{ takeover: "when-idle", takeoverTimeoutMs: waitSeconds * 1_000 },
  });
  const report = await store.compact();
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify({ url, ...report })}\n` : readable(url, report));
  await output.close();
  return exitCodes.ok;
}
