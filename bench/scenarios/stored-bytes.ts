/**
 * Where the bytes are: the rows of each family before and after compaction, and what they come to in the engine's tables. For
 * the latter each family is copied into a database of its own, which is what the folder holds of it once the engine has merged
 * its tables and collected its garbage, filters and indexes included.
 */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { openEventStore } from "../../src/index.ts";
import type { KvOperation } from "../../src/kv/kv.ts";
import { parseStoreUrl } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { folderOf } from "../harness/locations.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { countEvents } from "../harness/strata-target.ts";

export interface StoredBytesSettings {
  /** Appended one by one, as services do, so that all is left to the compactor. */
  readonly events: number;
}

const families: readonly (readonly [name: string, tag: number])[] = [
  ["heads", 0x10],
  ["names", 0x11],
  ["stream pages", 0x20],
  ["log pages", 0x30],
  ["index", 0x40],
  ["time", 0x50],
];
const rowsAtOnce = 256;
/** They go in the order in which they are given, also those to one stream. */
const appendsAtOnce = 64;
const anyVersion = { expectedVersion: "any" } as const;

interface Family {
  rows: number;
  logicalBytes: number;
  tableBytes: number;
}

async function tableBytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder, { recursive: true })) {
    if (name.endsWith(".sst") && name.includes("compacted")) bytes += (await stat(join(folder, name))).size;
  }
  return bytes;
}

/** Copies the rows of some families into a fresh database and measures them there. */
async function copyOf(from: string, to: string, tags: readonly [first: number, behind: number]): Promise<Family> {
  const folder = folderOf(to) ?? "";
  const found: Family = { rows: 0, logicalBytes: 0, tableBytes: 0 };
  await using source = await openSlateKv({ location: parseStoreUrl(from), s3: {}, clock: systemClock });
  {
    await using copy = await openSlateKv({ location: parseStoreUrl(to), s3: {}, clock: systemClock });
    const cursor = await source.scan({ start: Buffer.of(tags[0]), end: Buffer.of(tags[1]) }, "replay");
    for (let rows = await cursor.next(rowsAtOnce); rows.length > 0; rows = await cursor.next(rowsAtOnce)) {
      found.rows += rows.length;
      for (const { key, value } of rows) found.logicalBytes += key.length + value.length;
      await copy.write(rows.map(({ key, value }): KvOperation => ({ kind: "put", key, value })));
    }
    cursor.close();
  }
  found.tableBytes = await tableBytesIn(folder);
  return found;
}

async function rowsOf(
  { freshUrl, progress }: ScenarioContext<StoredBytesSettings>,
  url: string,
  state: string,
  events: number,
): Promise<readonly Row[]> {
  const perEvent = (bytes: number): string => (bytes / events).toFixed(2);
  const all = [...families, ["all", 0] as const];
  const rows: Row[] = [];
  for (const [name, tag] of all) {
    progress(`${state}: ${name}`);
    const range = tag === 0 ? ([0x00, 0xff] as const) : ([tag, tag + 1] as const);
    const found = await copyOf(url, freshUrl(`${state}-${name.replaceAll(" ", "-")}`), range);
    rows.push({
      parameters: { state, family: name },
      n: found.rows,
      extra: {
        "row bytes an event": perEvent(found.logicalBytes),
        "table bytes an event": perEvent(found.tableBytes),
      },
    });
  }
  return rows;
}

async function run(context: ScenarioContext<StoredBytesSettings>): Promise<readonly Row[]> {
  const { settings, source, progress } = context;
  const url = context.freshUrl("store");
  if (folderOf(url) === undefined) return [{ parameters: { state: "a folder is needed", family: "all" }, n: 0 }];
  let events = 0;
  {
    await using store = await openEventStore({ url, compaction: false });
    progress("importing");
    for await (const batch of source.batches(settings.events)) {
      for (let from = 0; from < batch.length; from += appendsAtOnce) {
        const some = batch.slice(from, from + appendsAtOnce);
        await Promise.all(some.map(({ streamName, ...event }) => store.append(streamName, [event], anyVersion)));
      }
      events += batch.length;
    }
  }
  const before = await rowsOf(context, url, "before", events);
  {
    await using store = await openEventStore({ url, compaction: false });
    await store.compact();
    checkEqual(await countEvents(store.readAll()), events, "events after compaction");
  }
  const after = await rowsOf(context, url, "after", events);
  const total = (rows: readonly Row[]): number => Number(rows.at(-1)?.extra?.["table bytes an event"]);
  check(total(after) <= total(before), "compaction made the store larger");
  return [...before, ...after];
}

export const storedBytes: Scenario<StoredBytesSettings> = {
  name: "stored-bytes",
  question: "How many bytes does an event take in storage, and in which family of rows, before and after compaction?",
  sizes: {
    smoke: { events: 1_000 },
    quick: { events: 50_000 },
    full: { events: 262_200 },
  },
  run,
};
