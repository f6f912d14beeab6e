/** `strata cost`: what a store costs a month. It lists objects and calculates; it opens nothing, and so fences nobody. */

import {
  type CostEstimate,
  type CostProjection,
  estimateCost,
  type MonthlyRequests,
  type ObjectStorePrices,
  type ObjectStoreStats,
  type PlannedLoad,
  projectCost,
  s3StandardPrices,
  storageCost,
} from "../index.ts";
import { openObjects } from "../kv/objects.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { CommandFailure, type ExitCode, exitCodes, usageFailure } from "./failure.ts";
import { type ChosenStore, chosenStore, storeOptions } from "./open-store.ts";
import { standardOutput } from "./output.ts";
import { readJsonObject, readPrices } from "./price-file.ts";
import { formatBytes, formatCount, formatCounted, visible } from "./text.ts";

const ownOptions: Command["options"] = [
  { name: "appends-per-second", value: "N", text: "commits that arrive each second, around the clock (default: 0)" },
  { name: "commit-linger-ms", value: "MS", text: 'as the store\'s commitLingerMs, a number or "adaptive"' },
  { name: "put-ms", value: "MS", text: "how long a PUT takes (default: 25)" },
  { name: "storage", value: "NAME", text: "low-latency (the default) or low-cost, as the store's option" },
  { name: "idle", value: "N", text: "further stores that are open and do nothing (default: 0)" },
  { name: "replicas", value: "N", text: "read replicas (default: 0)" },
  { name: "replica-poll-ms", value: "MS", text: "how often each looks for news (default: 1000)" },
  { name: "stats", value: "FILE", text: "JSON of store.stats().objectStore of a service that runs" },
  { name: "prices", value: "FILE", text: "a table of prices as JSON (default: S3 Standard, us-east-1)" },
  { name: "print-prices", text: "write the table of prices as JSON, to be edited, and nothing else" },
];

export const costCommand: Command = {
  name: "cost",
  summary: "Say what a store costs a month",
  positionals: [],
  options: [...storeOptions, ...ownOptions],
  notes: [
    "With --url the objects of the store are listed, one request for 1,000 of them, and their sizes priced. The store is not opened, so no writer is fenced. The requests are those of the planned load, by what the engine was measured to do for each step, or with --stats those that a service has counted, taken to a month. A month has 30 days. Transfer is not in it; within a region it is free.",
  ],
  examples: [
    "strata cost --appends-per-second 50 --commit-linger-ms 20 --replicas 1",
    "strata cost --url s3://bucket/shop --stats stats.json --prices prices.json",
  ],
  run,
};

const families = ["wal", "compacted", "manifest", "other"] as const;
type Family = (typeof families)[number];
type Sizes = Record<Family, { objects: number; bytes: number }>;

function familyOf(name: string): Family {
  const [root, folder] = name.split("/");
  if (root !== "db") return "other";
  if (folder === "wal" || folder === "compacted") return folder;
  return folder === "manifest" || folder === "compactions" ? "manifest" : "other";
}

async function sizesOf({ location, s3 }: ChosenStore): Promise<Sizes> {
  const sizes: Sizes = {
    wal: { objects: 0, bytes: 0 },
    compacted: { objects: 0, bytes: 0 },
    manifest: { objects: 0, bytes: 0 },
    other: { objects: 0, bytes: 0 },
  };
  await using objects = await openObjects(location, s3);
  for await (const { name, size } of objects.list("")) {
    const family = sizes[familyOf(name)];
    family.objects += 1;
    family.bytes += size;
  }
  if (sizes.manifest.objects > 0) return sizes;
  throw new CommandFailure("not-found", `There is no store at ${location.url}`);
}

function lingerOf(text: string | undefined): PlannedLoad["lingerMs"] | undefined {
  if (text === undefined || text === "adaptive") return text;
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw usageFailure(`--commit-linger-ms must be an integer from 0 or "adaptive"`);
}

function storageOf(text: string | undefined): PlannedLoad["storage"] | undefined {
  if (text === undefined || text === "low-latency" || text === "low-cost") return text;
  throw usageFailure("--storage must be low-latency or low-cost");
}

function loadOf(given: Arguments): PlannedLoad {
  const load = {
    appendsPerSecond: given.integer("appends-per-second", 0),
    lingerMs: lingerOf(given.text("commit-linger-ms")),
    putMs: given.integer("put-ms", 1),
    storage: storageOf(given.text("storage")),
    idleStores: given.integer("idle", 0),
    replicas: given.integer("replicas", 0),
    replicaPollMs: given.integer("replica-poll-ms", 1),
  };
  return Object.fromEntries(Object.entries(load).filter(([, value]) => value !== undefined));
}

const purposes = [
  "opening",
  "commitGroups",
  "memtableFlushes",
  "compaction",
  "polling",
  "garbageCollection",
  "reads",
  "lease",
];
const kinds = ["puts", "gets", "lists", "heads", "deletes"];

/** Whether each purpose has its counts; the file may be of anything. */
function isStats(value: unknown): value is ObjectStoreStats {
  const field = (of: unknown, name: string): unknown =>
    typeof of === "object" && of !== null ? Reflect.get(of, name) : undefined;
  const numbers = (of: unknown, names: readonly string[]): boolean =>
    names.every((name) => typeof field(of, name) === "number");
  return (
    numbers(value, ["uptimeMs", "garbageIntervalMs"]) &&
    purposes.every((purpose) => numbers(field(field(value, "byPurpose"), purpose), kinds))
  );
}

async function readStats(path: string): Promise<ObjectStoreStats> {
  const given = await readJsonObject(path);
  const found = given.objectStore ?? given;
  if (isStats(found)) return found;
  throw new CommandFailure("bad-input", `The file holds no store.stats().objectStore: ${path}`);
}

interface Report {
  readonly prices: ObjectStorePrices;
  readonly storage: { readonly url: string; readonly families: Sizes; readonly monthlyCost: number } | undefined;
  readonly requests: CostEstimate | CostProjection;
  readonly monthlyCost: number;
}

function money(amount: number, currency: string): string {
  return `${amount.toFixed(2)} ${currency}`;
}

const labels: Readonly<Record<string, string>> = {
  commitGroups: "commit groups",
  memtableFlushes: "memtable flushes",
  garbageCollection: "garbage collection",
  idleStores: "idle stores",
};

function readable({ prices, storage, requests, monthlyCost }: Report): string {
  const { currency } = prices;
  const rows: [string, string, string][] = [];
  for (const family of families) {
    const found = storage?.families[family];
    if (found === undefined) continue;
    const what = `${formatBytes(found.bytes)} in ${formatCounted(found.objects, "object")}`;
    rows.push([`stored: ${family}`, money(storageCost(found.bytes, prices), currency), what]);
  }
  for (const [purpose, { requests: counts, cost }] of Object.entries<MonthlyRequests>(requests.byPurpose)) {
    const text = Object.entries(counts).flatMap(([kind, count]) =>
      count === 0 ? [] : [`${formatCount(Math.round(count))} ${kind}`],
    );
    rows.push([labels[purpose] ?? purpose, money(cost, currency), text.join(", ")]);
  }
  rows.push(["in a month", money(monthlyCost, currency), `at the prices of ${visible(prices.name)}`]);
  const width = Math.max(...rows.map(([term]) => term.length));
  const costWidth = Math.max(...rows.map(([, cost]) => cost.length));
  const lines = rows.map(([term, cost, text]) =>
    `${term.padEnd(width)}  ${cost.padStart(costWidth)}  ${text}`.trimEnd(),
  );
  return `${lines.join("\n")}\nPrices: ${visible(prices.source)}\n`;
}

async function report(given: Arguments): Promise<Report> {
  const prices = await readPrices(given.text("prices"));
  const statsFile = given.text("stats");
  const load = loadOf(given);
  if (statsFile !== undefined && Object.keys(load).length > 0) {
    throw usageFailure("--stats tells what was counted: it goes with no option of a planned load");
  }
  const requests =
    statsFile === undefined ? projectCost(load, prices) : estimateCost(await readStats(statsFile), prices);
  const url = given.text("url") ?? process.env.STRATA_URL ?? "";
  if (url === "") return { prices, storage: undefined, requests, monthlyCost: requests.monthlyCost };
  const chosen = chosenStore(given);
  const sizes = await sizesOf(chosen);
  const bytes = Object.values(sizes).reduce((sum, family) => sum + family.bytes, 0);
  const monthlyCost = storageCost(bytes, prices);
  return {
    prices,
    storage: { url: chosen.location.url, families: sizes, monthlyCost },
    requests,
    monthlyCost: monthlyCost + requests.monthlyCost,
  };
}

async function run(given: Arguments): Promise<ExitCode> {
  const output = standardOutput();
  if (given.flag("print-prices")) {
    await output.write(`${JSON.stringify(s3StandardPrices, null, 2)}\n`);
  } else {
    const found = await report(given);
    await output.write(given.flag("json") ? `${JSON.stringify(found)}\n` : readable(found));
  }
  await output.close();
  return exitCodes.ok;
}
