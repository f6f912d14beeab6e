/** `strata writer`: who writes to a store, as its lease says. It opens nothing, so it fences nobody. */

import { readWriterLease, type WriterLease } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { assertExists, chosenStore, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatSeconds, visible } from "./text.ts";

export const writerCommand: Command = {
  name: "writer",
  summary: "Tell who writes to a store, without opening it",
  positionals: [],
  options: storeOptions,
  notes: [
    "It reads the lease beside the database, one small object that a writer renews while it has the store open. Nobody is fenced by that. A lease that is overdue is that of a process which is gone, stands still, or cannot store it; times are compared by the clocks of two machines here, so look twice.",
  ],
  examples: ["strata writer --url file:.data/shop"],
  run,
};

/** What a single look can say of it. */
type Verdict = "held" | "overdue" | "released" | "none";

function verdictOf(lease: WriterLease | undefined, nowMs: number): Verdict {
  if (lease === undefined) return "none";
  if (lease.state === "released") return "released";
  return nowMs > lease.renewedAt.getTime() + lease.expiresAfterMs ? "overdue" : "held";
}

function stateText(verdict: Verdict, lease: WriterLease): string {
  const lasts = `lasts ${formatSeconds(lease.expiresAfterMs)} from each renewal`;
  switch (verdict) {
    case "held":
      return `held, ${lasts}`;
    case "overdue":
      return `overdue, ${lasts}`;
    case "released":
    case "none":
      return "released: nobody writes";
  }
}

function readable(url: string, verdict: Verdict, lease: WriterLease | undefined, nowMs: number): string {
  if (lease === undefined) return `store    ${visible(url)}\nlease    none: nobody is known to write\n`;
  const agoMs = nowMs - lease.renewedAt.getTime();
  const rows: readonly (readonly [string, string])[] = [
    ["store", visible(url)],
    ["lease", stateText(verdict, lease)],
    ...(lease.writerName === undefined ? [] : [["writer", visible(lease.writerName)] as const]),
    ["process", `${lease.pid} on ${visible(lease.host)}`],
    ["since", lease.startedAt.toISOString()],
    [
      lease.state === "released" ? "closed" : "renewed",
      `${lease.renewedAt.toISOString()}, ${formatSeconds(agoMs)} ago`,
    ],
  ];
  const width = Math.max(...rows.map(([term]) => term.length));
  return rows.map(([term, text]) => `${term.padEnd(width)}  ${text}\n`).join("");
}

async function run(given: Arguments): Promise<ExitCode> {
  const chosen = chosenStore(given);
  await assertExists(chosen);
  const { location, s3 } = chosen;
  const { url } = location;
  const lease = await readWriterLease({ url, s3 });
  const nowMs = Date.now();
  const verdict = verdictOf(lease, nowMs);
  const output = standardOutput();
  const json = (): string => `${JSON.stringify({ url, lease: verdict, writer: lease ?? null })}\n`;
  await output.write(given.flag("json") ? json() : readable(url, verdict, lease, nowMs));
  await output.close();
  return exitCodes.ok;
}
