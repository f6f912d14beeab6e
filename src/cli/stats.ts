/** `strata stats`: how much a store holds. What is counted is counted by listing the streams, in bounded memory. */

import { opendir, stat } from "node:fs/promises";
import { join } from "node:path";
import { formatVersion } from "../format/records.ts";
import { categoryOf, type EventReader } from "../index.ts";
import type { StoreLocation } from "../kv/object-store.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { type ExitCode, exitCodes } from "./failure.ts";
import { chosenStore, openExisting, readingNote, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { formatBytes, formatCount, formatCounted, visible } from "./text.ts";

/** The most categories that are told apart; those met later are counted together. */
const categoriesMax = 1_000;

export const statsCommand: Command = {
  name: "stats",
  summary: "Count what a store holds",
  positionals: [],
  options: storeOptions,
  notes: [
    `The streams are counted by listing them all, which takes about a second for 20,000 of them. A stream's events are those it has ever had. Beyond ${formatCount(categoriesMax)} categories the others are counted together. The size on disk is told of file: stores.`,
    readingNote,
  ],
  examples: ["strata stats --url file:.data/shop"],
  run,
};

interface Counted {
  streams: number;
  events: number;
}

interface Stats {
  readonly url: string;
  readonly format: number;
  readonly lastPosition: number;
  /** What to keep elsewhere, and the first position that it stands for; nothing where the store has no chain yet. */
  readonly chain: { readonly head: string; readonly from: number } | undefined;
  readonly streams: number;
  readonly categories: readonly (Counted & { readonly category: string })[];
  /** Of categories beyond the bound. */
  readonly otherCategories: Counted | undefined;
  readonly disk: { readonly files: number; readonly bytes: number } | undefined;
}

async function countStreams(store: EventReader): Promise<Pick<Stats, "streams" | "categories" | "otherCategories">> {
  const categories = new Map<string, Counted>();
  const others: Counted = { streams: 0, events: 0 };
  let streams = 0;
  for await (const { streamName, version } of store.listStreams()) {
    streams += 1;
    const category = categoryOf(streamName);
    let counted = categories.get(category) ?? others;
    if (counted === others && categories.size < categoriesMax) {
      counted = { streams: 0, events: 0 };
      categories.set(category, counted);
    }
    counted.streams += 1;
    counted.events += version;
  }
  return {
    streams,
    categories: Array.from(categories, ([category, counted]) => ({ category, ...counted })),
    otherCategories: others.streams === 0 ? undefined : others,
  };
}

async function sizeOf(location: StoreLocation): Promise<Stats["disk"]> {
  if (location.kind !== "folder") return undefined;
  let files = 0;
  let bytes = 0;
  const add = async (directory: string): Promise<void> => {
    for await (const entry of await opendir(directory)) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        await add(path);
        continue;
      }
      // The engine may remove a file meanwhile.
      const found = await stat(path).catch(() => undefined);
      files += found === undefined ? 0 : 1;
      bytes += found?.size ?? 0;
    }
  };
  await add(location.directory);
  return { files, bytes };
}

function readable(stats: Stats): string {
  const { lastPosition, chain, streams, categories, otherCategories, disk } = stats;
  const counted = ({ streams, events }: Counted): string =>
    `${formatCounted(streams, "stream")}, ${formatCounted(events, "event")}`;
  const rows: [string, string][] = [
    ["store", visible(stats.url)],
    ["format", String(stats.format)],
    ["last position", formatCount(lastPosition)],
    ["chain head", chain === undefined ? "none yet" : chain.head],
    ...(chain === undefined || chain.from === 1 ? [] : [["chained from", formatCount(chain.from)] as [string, string]]),
    ["streams", formatCount(streams)],
    ...categories.map((one): [string, string] => [`category ${visible(one.category)}`, counted(one)]),
  ];
  if (otherCategories !== undefined) rows.push(["other categories", counted(otherCategories)]);
  if (disk !== undefined) rows.push(["on disk", `${formatBytes(disk.bytes)} in ${formatCounted(disk.files, "file")}`]);
  const width = Math.min(40, Math.max(...rows.map(([term]) => term.length)));
  return rows.map(([term, text]) => `${term.padEnd(width)}  ${text}\n`).join("");
}

async function run(given: Arguments): Promise<ExitCode> {
  const chosen = chosenStore(given);
  await using store = await openExisting(chosen);
  const head = store.chainHead();
  const stats: Stats = {
    url: chosen.location.url,
    // Opening refuses a newer format, and there is no older one.
    format: formatVersion,
    lastPosition: await store.lastPosition(),
    chain: head === undefined ? undefined : { head: head.text, from: head.chainedFrom },
    ...(await countStreams(store)),
    disk: await sizeOf(chosen.location),
  };
  const output = standardOutput();
  await output.write(given.flag("json") ? `${JSON.stringify(stats)}\n` : readable(stats));
  await output.close();
  return exitCodes.ok;
}
