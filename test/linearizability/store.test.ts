/**
 * Concurrent appends, with expectations, and reads through a writer and through the writers that take over from it, while
 * storage fails: what callers are told must be explained by calls one after another. Where it is not, the message has the
 * seed, the history and the state of the model. A reader that may lag, such as a replica, is held to the weaker rule of
 * `findUnsteadyReader`: what it sees are beginnings of the stream, and none shorter than the one before.
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { openAt, startServers } from "../faults/fault-run.ts";
import { createFaultyStorage, type FaultRates, openFaultyKv } from "../support/faulty-kv.ts";
import { minioAvailable } from "../support/minio.ts";
import { seededRandom } from "../support/random.ts";
import { Callers } from "./callers.ts";

setDefaultTimeout(120_000);

const seedsInMemory = 100;
const seedsOnMinio = 12;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Five callers make their calls, while writers take over from each other `takeovers` times. */
async function run(callers: Callers, takeovers: number, callsEach: number, wait: () => Promise<void>): Promise<void> {
  await callers.takeOver();
  let calling = true;
  const replacing = (async () => {
    for (let done = 0; done < takeovers && calling; done += 1) {
      await wait();
      await callers.takeOver();
    }
  })();
  // Replicas would be read in the same way.
  const [first] = callers.writers;
  const lagging = first === undefined ? undefined : callers.readLagging("who stays with the first", first, callsEach);
  await Promise.all(["ann", "ben", "cid", "dot", "eve"].map((caller) => callers.call(caller, callsEach)));
  await lagging;
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
  await run(callers, 3, 20, wait);
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
      const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
      const callers = new Callers({
        random,
        open: () => openAt(servers, bucket, servers.proxy.endpoint),
        breathe: () => pause(random() * 8),
        replacedLearnAtOnce: false,
      });
      try {
        await run(callers, 2, 30, () => pause(random() * 300));
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
