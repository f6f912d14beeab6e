/** `strata verify`: whether a store is what it was, by its hash chain; and if not, where. */

import { type VerifyBreak, type VerifyReport, verifyStore } from "../index.ts";
import { systemClock } from "../runtime/clock.ts";
import { checkKeptHead } from "../vocabulary/chain-head.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes, usageFailure } from "./failure.ts";
import { assertExists, chosenStore, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { Progress } from "./progress.ts";
import { formatCount, formatCounted, visible } from "./text.ts";

export const verifyCommand: Command = {
  name: "verify",
  summary: "Walk the hash chain, and name what does not hold",
  positionals: [],
  options: [
    { name: "from", value: "N", text: "begin at this position (at the link that is stored before it)" },
    { name: "to", value: "N", text: "end at this position (at the link that is stored behind it)" },
    { name: "against", value: "HEAD", text: "compare with a head that was kept elsewhere, as strata stats tells it" },
    ...storeOptions,
  ],
  notes: [
    "It reads the whole log and all streams, recomputes what stands for each event, and compares: with the links that are stored, and with the copy of each event in its stream or its archive. Damage does not end it: it is named, and what lies behind it is looked at. It ends with code 1 where anything does not hold.",
    "By itself it proves that nothing was damaged, lost or changed by accident or by whoever does not make the chain anew. Whoever can write to the storage can do that; a head that was kept elsewhere, given as --against, proves that the events up to it are the same, in the same order, none less, none more.",
    readingNote,
  ],
  examples: ["strata verify --url file:.data/shop", "strata verify --url file:.data/shop --against 1024:5f0c..."],
  run,
};

function placeOf({ fromPosition, toPosition, streamName, version }: VerifyBreak): string {
  const positions =
    fromPosition === undefined
      ? ""
      : fromPosition === toPosition
        ? `position ${fromPosition}`
        : `positions ${fromPosition} to ${toPosition}`;
  const at = version === undefined ? "" : `version ${version} of `;
  const stream = streamName === undefined ? "" : `${at}${visible(streamName)}`;
  return [positions, stream].filter((part) => part !== "").join(", ");
}

function breakText(found: VerifyBreak): string {
  const place = placeOf(found);
  const row = found.row === undefined ? "" : ` (row ${found.row})`;
  return `${found.kind}${place === "" ? "" : ` at ${place}`}: ${found.reason}${row}\n`;
}

function chainText({ chainedFrom }: VerifyReport): string {
  if (chainedFrom === undefined) return "none yet: it begins when this version first writes to the store";
  return chainedFrom === 1 ? "from the first position on" : `from position ${formatCount(chainedFrom)} on`;
}

function readable(report: VerifyReport): string {
  const { fromPosition, toPosition, events, dropped, links, streams, archiveObjects, head, breaks, breakCount } =
    report;
  const rows: readonly (readonly [string, string])[] = [
    ["positions", `${formatCount(fromPosition)} to ${formatCount(toPosition)}`],
    ["events", `${formatCount(events)}, and ${formatCount(dropped)} that were dropped`],
    ["chain", chainText(report)],
    ["links compared", formatCount(links)],
    ["streams compared", formatCount(streams)],
    ["archive objects", formatCount(archiveObjects)],
    ["head", head?.text ?? "none"],
    ["verdict", report.holds ? "it holds" : `it does not hold: ${formatCounted(breakCount, "break")}`],
  ];
  const width = Math.max(...rows.map(([term]) => term.length));
  const lines = rows.map(([term, text]) => `${term.padEnd(width)}  ${text}\n`).join("");
  const more = breakCount > breaks.length ? `and ${formatCount(breakCount - breaks.length)} more\n` : "";
  return `${lines}${breaks.map(breakText).join("")}${more}`;
}

async function run(given: Arguments): Promise<ExitCode> {
  const fromPosition = given.integer("from", 1);
  const toPosition = given.integer("to", 0);
  const against = given.text("against");
  if (against !== undefined) {
    try {
      checkKeptHead(against, "--against");
    } catch {
      throw usageFailure('--against must be a head, as in "1024:" and 64 hexadecimal digits');
    }
  }
  const chosen = chosenStore(given);
  await assertExists(chosen);
  const { createBucket: _, ...s3 } = chosen.s3;
  const progress = new Progress(systemClock, process.stderr);
  const report = await verifyStore({
    ...{ url: chosen.location.url, s3 },
    ...(fromPosition === undefined ? {} : { fromPosition }),
    ...(toPosition === undefined ? {} : { toPosition }),
    ...(against === undefined ? {} : { against }),
    onProgress: ({ phase, events, eventsTotal }) => {
      if (phase === "archives") return;
      const half = eventsTotal === 0 ? 0 : events / eventsTotal / 2;
      progress.show({ events, fraction: Math.min(1, phase === "log" ? half : 0.5 + half) });
    },
  });
  progress.end();
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify(report)}\n` : readable(report));
  await output.close();
  return report.holds ? exitCodes.ok : exitCodes.failed;
}
