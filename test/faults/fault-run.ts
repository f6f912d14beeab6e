/**
 * One run of the fault tests: a store on MinIO behind the fault proxy, in a bucket of its own, used by several actors while
 * a fault comes and goes by a seed. Then: does the store go on, or say that it must be opened again; and does the log, read
 * without the proxy, keep what was promised. `STRATA_FAULT_SEED=7` runs that seed alone.
 */

import { expect } from "bun:test";
import type { EventStore } from "../../src/index.ts";
import { parseStoreUrl } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import type { Fault, FaultRule } from "../support/fault-rules.ts";
import { type Minio, startMinio } from "../support/minio.ts";
import { seededRandom } from "../support/random.ts";
import { appender, Cast, follower, probe } from "./actors.ts";

/** Short enough that a seed takes a second or two; what they stand for in service is in slatedb-settings.ts. */
const commitTimeoutMs = 600;
const tuning: Partial<SlateTuning> = {
  requestTimeoutMs: 250,
  readTimeoutMs: 1_500,
  writeTimeoutMs: 15_000,
  openTimeoutMs: 6_000,
  closeTimeoutMs: 2_000,
  manifestPollMs: 200,
  // Tables, manifests and compactions meet the fault as well as the log does.
  memtableFlushGroups: 6,
};
/** For looking at what was stored, however busy the machine is. */
const patientTuning: Partial<SlateTuning> = {
  requestTimeoutMs: 10_000,
  readTimeoutMs: 30_000,
  writeTimeoutMs: 30_000,
  openTimeoutMs: 30_000,
  closeTimeoutMs: 30_000,
};
/** The longest of these waits, a close and an open in a row, on a machine that has other things to do. */
const callMsMax = 30_000;
/** Within this after the fault's end the store has acknowledged an append or said that it must be opened again. */
const recoveryMsMax = 30_000;

const reopensMax = 5;

export interface Servers extends AsyncDisposable {
  readonly minio: Minio;
  readonly proxy: FaultProxy;
}

export async function startServers(): Promise<Servers> {
  const minio = await startMinio();
  const proxy = await startFaultProxy(minio.endpoint);
  return {
    minio,
    proxy,
    [Symbol.asyncDispose]: async () => {
      await proxy.stop();
      await minio[Symbol.asyncDispose]();
    },
  };
}

export interface FaultCase {
  /** The fault, or one by chance. */
  readonly fault: (random: () => number) => Fault;
  /** Which requests it strikes; without it all. */
  readonly purposes?: FaultRule["purposes"];
  /** Of those, how many. Default: something from 0.2 to 1 by the seed. */
  readonly probability?: number;
  /** How long the fault is there each time, in milliseconds, by the seed. Default: 100 to 500. */
  readonly lastsMs?: readonly [number, number];
  readonly tuning?: Partial<SlateTuning>;
}

export interface RunReport {
  readonly seed: number;
  readonly struck: number;
  readonly ending: "went on" | "must be opened again";
  /** From the fault's end to the answer of `ending`. */
  readonly recoveryMs: number;
  readonly opens: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly slowestCallMs: number;
  readonly told: ReadonlyMap<string, number>;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The fault comes and goes twice, with quiet times between; answers how often it struck. */
async function comeAndGo(proxy: FaultProxy, bucket: string, one: FaultCase, seed: number): Promise<number> {
  const random = seededRandom(seed * 7_919);
  const [fromMs, toMs] = one.lastsMs ?? [100, 500];
  let struck = 0;
  for (let round = 0; round < 2; round += 1) {
    await pause(50 + random() * 150);
    const set = await proxy.setFault({
      fault: one.fault(random),
      buckets: [bucket],
      seed: seed * 31 + round,
      probability: one.probability ?? 0.2 + random() * 0.8,
      ...(one.purposes === undefined ? {} : { purposes: one.purposes }),
    });
    await pause(fromMs + random() * (toMs - fromMs));
    struck += await set.clear();
  }
  return struck;
}

/** Opens the store of a bucket at an endpoint, the proxy's or the server's own. */
export async function openAt(
  servers: Servers,
  bucket: string,
  endpoint: string,
  own: Partial<SlateTuning> = {},
  timeoutMs: number = commitTimeoutMs,
): Promise<EventStore> {
  const location = parseStoreUrl(`s3://${bucket}/store`);
  const s3 = { ...servers.minio.s3, endpoint };
  const kv = await openSlateKv({ location, s3, clock: systemClock, tuning: { ...tuning, ...own } });
  try {
    return await openEventStoreOn(kv, { commitTimeoutMs: timeoutMs });
  } catch (error) {
    await kv.close().catch(() => {});
    throw error;
  }
}

/** Opens the store without the proxy, twice: what was under way somewhere when it was first read must not turn up later. */
export async function checkLog(servers: Servers, bucket: string, cast: Cast): Promise<void> {
  for (let round = 0; round < 2; round += 1) {
    const store = await openAt(servers, bucket, servers.minio.endpoint, patientTuning);
    const log = await collect(store.readAll());
    cast.ledger.check(log);
    expect(cast.read).toEqual(log.slice(0, cast.read.length).map(({ id, position }) => ({ id, position })));
    for await (const { streamName } of store.listStreams()) {
      const own = log.filter((event) => event.streamName === streamName);
      expect(await collect(store.readStream(streamName))).toEqual(own);
    }
    const tagged = log.filter((event) => event.tags.includes("stream:cart-1"));
    expect(await collect(store.readAll({ filter: { tags: ["stream:cart-1"] } }))).toEqual(tagged);
    await store.close();
  }
}

export async function runSeed(servers: Servers, one: FaultCase, seed: number): Promise<RunReport> {
  const bucket = await servers.minio.createBucket();
  const open = (): Promise<EventStore> => openAt(servers, bucket, servers.proxy.endpoint, one.tuning);
  const cast = new Cast({ random: seededRandom(seed), open, callMsMax, now: () => performance.now() });
  const done = new AbortController();
  try {
    return await meetFault(servers, one, { seed, bucket, cast, done });
  } finally {
    done.abort();
    cast.end();
  }
}

interface Run {
  readonly seed: number;
  readonly bucket: string;
  readonly cast: Cast;
  /** Its actors end with it. */
  readonly done: AbortController;
}

async function meetFault(servers: Servers, one: FaultCase, { seed, bucket, cast, done }: Run): Promise<RunReport> {
  await cast.store();
  const actors = Promise.all([
    ...[1, 2, 3, 4].map(() => appender(cast, done.signal)),
    follower(cast, done.signal),
  ]).finally(() => done.abort());
  // It is waited for below, after others: until then a failure of an actor is no unhandled one.
  actors.catch(() => {});
  const struck = await Promise.race([comeAndGo(servers.proxy, bucket, one, seed), actors.then(() => 0)]);
  const endedMs = performance.now();
  done.abort();
  const ending = await probe(cast);
  const recoveryMs = performance.now() - endedMs;
  expect(recoveryMs).toBeLessThan(recoveryMsMax);
  await actors;
  // Whichever it was: from here on it works. Only where a write may take no time at all may a slow machine end it again.
  for (let again = 0; ; again += 1) {
    await cast.store();
    if ((await probe(cast)) === "went on") break;
    expect(again).toBeLessThan(one.tuning?.writeTimeoutMs === undefined ? 1 : reopensMax);
  }
  const last = cast.current;
  // The storage is well, but the machine may be slow, and some of these tests wait for a moment only.
  if (last !== undefined) await cast.call(last.close(), ["storage-unavailable"]);
  await checkLog(servers, bucket, cast);
  const { opens, slowestCallMs, told, ledger } = cast;
  const acknowledged = ledger.count("acknowledged");
  expect(acknowledged).toBeGreaterThan(0);
  return {
    seed,
    struck,
    ending,
    recoveryMs,
    opens,
    acknowledged,
    unknown: ledger.count("unknown"),
    slowestCallMs,
    told,
  };
}

/** Each fault is met under so many seeds. */
export const seedsDefault = 20;
const concurrency = 6;

/** Runs the case under its seeds, some at a time; names the seed that fails. */
export async function runSeeds(servers: Servers, name: string, one: FaultCase): Promise<readonly RunReport[]> {
  const only = process.env.STRATA_FAULT_SEED;
  const seeds = only === undefined ? Array.from({ length: seedsDefault }, (_, index) => index + 1) : [Number(only)];
  const reports: RunReport[] = [];
  const worker = async (): Promise<void> => {
    for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
      try {
        reports.push(await runSeed(servers, one, seed));
      } catch (error) {
        seeds.length = 0;
        throw new Error(`${name}: seed ${seed} fails; repeat it with STRATA_FAULT_SEED=${seed}`, { cause: error });
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  if (process.env.STRATA_FAULT_REPORT !== undefined) report(name, reports);
  return reports;
}

/** Whether the store is there again by itself once the fault is over, or says that it must be opened again. */
export type Ending = "goes on" | "must be opened again";

/** The fault was met, callers saw it, and the store took it as it should. */
export function expectStruck(reports: readonly RunReport[], ending: Ending): void {
  expect(sumOver(reports, (one) => one.struck)).toBeGreaterThan(reports.length);
  const reopened = sumOver(reports, (one) => one.opens - 1);
  if (ending === "goes on") expect(reopened).toBe(0);
  else expect(reopened).toBeGreaterThanOrEqual(reports.length / 2);
}

function sumOver(reports: readonly RunReport[], of: (one: RunReport) => number): number {
  return reports.reduce((total, one) => total + of(one), 0);
}

/** What ARCHITECTURE.md's table of faults is made of. */
function report(name: string, reports: readonly RunReport[]): void {
  const told = new Map<string, number>();
  for (const one of reports) for (const [what, count] of one.told) told.set(what, (told.get(what) ?? 0) + count);
  const sum = (of: (one: RunReport) => number): number => sumOver(reports, of);
  const most = (of: (one: RunReport) => number): number => Math.round(Math.max(...reports.map(of)));
  const wentOn = reports.filter((one) => one.ending === "went on").length;
  console.log(
    `${name}: struck ${sum((one) => one.struck)}, went on ${wentOn} of ${reports.length}, opens ${sum((one) => one.opens)}, ` +
      `recovery at most ${most((one) => one.recoveryMs)} ms, slowest call ${most((one) => one.slowestCallMs)} ms, ` +
      `acknowledged ${sum((one) => one.acknowledged)}, unknown ${sum((one) => one.unknown)}, ` +
      `told ${[...told].map(([what, count]) => `${what} x${count}`).join(", ")}`,
  );
}
