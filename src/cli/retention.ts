/** `strata retention`: how long events are kept. It lists the rules, or sets one. */

import type { RetentionInfo } from "../index.ts";
import type { Arguments } from "./arguments.ts";
import { changeNote, changeOptions, changeStore, duration, metadataOf } from "./change-store.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes, usageFailure } from "./failure.ts";
import { chosenStore, openExisting } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatSeconds, visible } from "./text.ts";

const dayMs = 86_400_000;

export const retentionCommand: Command = {
  name: "retention",
  summary: "List, set or remove the rules by which events are dropped",
  positionals: [],
  options: [
    { name: "of", value: "NAME", text: "set or remove the rule of this category, or of this stream" },
    { name: "max-age", value: "TIME", text: "drop events that were recorded longer ago, as in 90d, 12h, 30m or 45s" },
    { name: "max-count", value: "N", text: "keep only the newest so many of each stream" },
    { name: "none", text: "remove the rule: events are kept for ever" },
    ...changeOptions,
  ],
  notes: [
    "Without --of the rules are listed, and nobody is disturbed. A name with a - is that of a stream, whose rule holds instead of its category's. What a rule takes is dropped from storage by the service's compactor, or by strata compact, and does not come back.",
    changeNote,
  ],
  examples: [
    "strata retention --url file:.data/shop",
    "strata retention --of cart --max-age 90d --max-count 500 --url file:.data/shop",
    "strata retention --of cart --none --url file:.data/shop",
  ],
  run,
};

function ageText(ms: number): string {
  const days = ms / dayMs;
  return days >= 2 ? `${Number(days.toFixed(1))} days` : formatSeconds(ms);
}

function ruleLine({ scope, name, maxAgeMs, maxCount }: RetentionInfo): string {
  const age = maxAgeMs === undefined ? [] : [`at most ${ageText(maxAgeMs)} old`];
  const count = maxCount === undefined ? [] : [`the newest ${maxCount}`];
  return `${scope}  ${visible(name)}  ${[...age, ...count].join(", ")}`;
}

async function run(given: Arguments): Promise<ExitCode> {
  const name = given.text("of");
  const age = given.text("max-age");
  const maxCount = given.integer("max-count", 1);
  const changes = age !== undefined || maxCount !== undefined || given.flag("none");
  if (name === undefined) {
    if (changes) throw usageFailure("--of is missing: --of NAME");
    return await list(given);
  }
  if (!changes) throw usageFailure("--of needs --max-age, --max-count or --none");
  if (given.flag("none") && (age !== undefined || maxCount !== undefined))
    throw usageFailure("--none goes with neither --max-age nor --max-count");
  const rule = {
    ...(age === undefined ? {} : { maxAgeMs: duration(age, "max-age") }),
    ...(maxCount === undefined ? {} : { maxCount }),
  };
  return await changeStore(given, async (store) => {
    await store.setRetention(name, given.flag("none") ? null : rule, metadataOf(given));
    const rules = await store.retentions();
    return { lines: linesOf(rules), json: rules };
  });
}

function linesOf(rules: readonly RetentionInfo[]): readonly string[] {
  return rules.length === 0 ? ["no rules: all events are kept"] : rules.map(ruleLine);
}

async function list(given: Arguments): Promise<ExitCode> {
  await using store = await openExisting(chosenStore(given));
  const rules = await store.retentions();
  const output = standardOutput();
  const text = given.flag("json") ? JSON.stringify(rules) : linesOf(rules).join("\n");
  await output.write(`${text}\n`);
  await output.close();
  return exitCodes.ok;
}
