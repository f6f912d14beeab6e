/**
 * Concurrent appends, with expectations, and reads through a writer and through the writers that take over from it, while
 * storage fails: what callers are told must be explained by calls one after another. Where it is not, the message has the
 * seed, the history and the state of the model. A reader that may lag, such as a replica, is held to the weaker rule of
 * `findUnsteadyReader`: what it sees are beginnings of the stream, and none shorter than the one before.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type EventStoreReader, openEventStore, type S3Options } from "../../src/index.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { openTunedReader } from "../../src/store/open-event-store-reader.ts";
import { openAt, startServers } from "../faults/fault-run.ts";
import { temporaryFolder } from "../support/backends.ts";
import { createFaultyStorage, type FaultRates, openFaultyKv } from "../support/faulty-kv.ts";
import { minioAvailable } from "../support/minio.ts";
import { seededRandom } from "../support/random.ts";
import { Callers } from "./callers.ts";

setDefaultTimeout(120_000);

const seedsInMemory = 100;
const seedsOnFolder = 50;
const seedsOnMinio = 12;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A replica that looks all the time, and whose engine is replaced again and again. */
function openReplica(url: string, rotateMs: number, s3?: S3Options): Promise<EventStoreReader> {
  return openTunedReader({ url, pollIntervalMs: 20, ...(s3 === undefined ? {} : { s3 }) }, { rotateMs });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** How a run goes; `replica` opens one more replica, where the storage has any. */
interface Course {
  readonly takeovers: number;
  readonly callsEach: number;
  readonly wait: () => Promise<void>;
  readonly replica?: () => Promise<EventStoreReader>;
}

/** Five callers make their calls, while writers take over from each other and replicas read along. */
async function run(callers: Callers, { takeovers, callsEach, wait, replica }: Course): Promise<void> {
  await callers.takeOver();
  await using replicas = new AsyncDisposableStack();
  let calling = true;
  const replacing = (async () => {
    for (let done = 0; done < takeovers && calling; done += 1) {
      await wait();
      await callers.takeOver();
    }
  })();
  const [first] = callers.writers;
  const lagging = first === undefined ? [] : [callers.readLagging("who stays with the first", first, callsEach)];
  for (const name of replica === undefined ? [] : ["a replica", "another replica"]) {
    const reader = replicas.use(await replica?.());
    if (reader !== undefined) lagging.push(callers.readLagging(name, reader, callsEach));
  }
  await Promise.all(["ann", "ben", "cid", "dot", "eve"].map((caller) => callers.call(caller, callsEach)));
  await Promise.all(lagging);
  calling = false;
  await replacing;
  await callers.end();
  callers.check();
}

async function runInMemory(seed: number): Promise<Callers> {
  const random = seededRandom(seed * 104_729);
  const pick = (most: number): number => random() * most;
  const rates: FaultRates = {
    failBefore: pick(0.1),
    failAfter: pick(0.08),
    loseTail: pick(0.08),
    fence: pick(0.03),
    readFailure: pick(0.05),
    delay: pick(0.8),
  };
  const storage = createFaultyStorage(seed, rates, () => {});
  const open = () => openEventStoreOn(openFaultyKv(storage), { commitTimeoutMs: 1_000_000 });
  const callers = new Callers({ random, open, breathe: turn, replacedLearnAtOnce: true });
  const wait = async (): Promise<void> => {
    for (let turns = Math.ceil(random() * 60); turns > 0; turns -= 1) await turn();
  };
  await run(callers, { takeovers: 3, callsEach: 20, wait });
  return callers;
}

test(`Under ${seedsInMemory} seeds of failing storage and takeovers the store is linearizable, stream by stream`, async () => {
  let calls = 0;
  let writers = 0;
  const told = new Set<string>();
  for (let seed = 1; seed <= seedsInMemory; seed += 1) {
    try {
      const callers = await runInMemory(seed);
      calls += callers.history.length;
      writers += callers.writers.length;
      for (const what of callers.told.keys()) told.add(what);
    } catch (error) {
      throw new Error(`Seed ${seed} fails`, { cause: error });
    }
  }
  expect(calls).toBeGreaterThan(seedsInMemory * 100);
  expect(writers).toBeGreaterThan(seedsInMemory * 4);
  expect([...told]).toContain("writer-fenced unknown");
  expect([...told]).toContain("storage-unavailable unknown");
  expect([...told]).toContain("conflict not-applied");
});

test(`Under ${seedsOnFolder} seeds of takeovers on a folder writers are linearizable, and replicas see beginnings of it`, async () => {
  await using root = await temporaryFolder();
  const runSeed = async (seed: number): Promise<number> => {
    const random = seededRandom(seed * 32_452_843);
    const url = `file:${root.path}/${seed}`;
    const callers = new Callers({
      random,
      open: () => openEventStore({ url }),
      breathe: () => pause(random() * 4),
      replacedLearnAtOnce: false,
    });
    try {
      const wait = () => pause(random() * 60);
      await run(callers, { takeovers: 2, callsEach: 20, wait, replica: () => openReplica(url, 150) });
    } catch (error) {
      throw new Error(`Seed ${seed} fails`, { cause: error });
    }
    const readers = callers.laggingReads.values().flatMap((reads) => reads.entries());
    return readers.reduce(
      (most, [name, reads]) => (name === "a replica" ? Math.max(most, reads.at(-1)?.length ?? 0) : most),
      0,
    );
  };
  let seen = 0;
  const seeds = Array.from({ length: seedsOnFolder }, (_, index) => index + 1);
  while (seeds.length > 0)
    seen += (await Promise.all(seeds.splice(0, 4).map(runSeed))).reduce((sum, one) => sum + one, 0);
  expect(seen).toBeGreaterThan(seedsOnFolder);
});

describe.skipIf(!minioAvailable)("On MinIO", () => {
  test(`under ${seedsOnMinio} seeds of broken connections and takeovers the store is linearizable, stream by stream`, async () => {
    await using servers = await startServers();
    const runSeed = async (seed: number): Promise<void> => {
      const random = seededRandom(seed * 15_485_863);
      const bucket = await servers.minio.createBucket();
      await servers.proxy.setFault({
        fault: { kind: random() < 0.5 ? "reset-after" : "reset-before" },
        buckets: [bucket],
        probability: 0.05,
        seed,
      });
      const callers = new Callers({
        random,
        open: () => openAt(servers, bucket, servers.proxy.endpoint),
        breathe: () => pause(random() * 8),
        replacedLearnAtOnce: false,
      });
      try {
        await run(callers, {
          takeovers: 2,
          callsEach: 30,
          wait: () => pause(random() * 300),
          replica: () =>
            openReplica(`s3://${bucket}/store`, 500, { ...servers.minio.s3, endpoint: servers.proxy.endpoint }),
        });
        expect(callers.writers.length).toBeGreaterThan(2);
        expect(callers.laggingReads.size).toBeGreaterThan(0);
      } catch (error) {
        throw new Error(`Seed ${seed} fails`, { cause: error });
      }
    };
    const seeds = Array.from({ length: seedsOnMinio }, (_, index) => index + 1);
    while (seeds.length > 0) await Promise.all(seeds.splice(0, 4).map(runSeed));
  });
});
