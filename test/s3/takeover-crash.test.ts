/**
 * Real processes on a real bucket: killed at random moments, or stopped while another takes over, and resumed. Nothing that
 * any of them acknowledged is lost or there twice, and who was replaced acknowledges nothing any more.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { openEventStore } from "../../src/index.ts";
import { collect } from "../support/collect.ts";
import { Ledger } from "../support/ledger.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";
import { seededRandom } from "../support/random.ts";
import { TellingProcess } from "../support/telling-process.ts";

setDefaultTimeout(240_000);

const rounds = 20;
const appendsMax = 120;
/** A takeover from a writer that is busy takes a second or two. */
const busyRounds = 8;

describe.skipIf(!minioAvailable)("Writers on MinIO", () => {
  let started: Minio | undefined;

  beforeAll(async () => {
    started = await startMinio();
  });

  afterAll(() => started?.[Symbol.asyncDispose]());

  function minio(): Minio {
    if (started === undefined) throw new Error("MinIO is not running");
    return started;
  }

  async function check(url: string, ledger: Ledger): Promise<void> {
    await using store = await openEventStore({ url, s3: minio().s3 });
    const log = await collect(store.readAll());
    ledger.check(log);
    const tagged = log.filter((event) => event.tags.includes("w:3"));
    expect(await collect(store.readAll({ filter: { tags: ["w:3"] } }))).toEqual(tagged);
  }

  /** A chain of writers under a seed; `round` ends the writer that it is given, and answers the next. */
  async function chain(
    rounds: number,
    round: (writer: TellingProcess, next: () => TellingProcess, some: () => number) => Promise<TellingProcess>,
  ): Promise<void> {
    const seed = Date.now() % 1_000_000;
    const random = seededRandom(seed);
    const url = `s3://${await minio().createBucket()}/store`;
    const ledger = new Ledger();
    let writers = 0;
    const next = (): TellingProcess => {
      writers += 1;
      return new TellingProcess(ledger, url, String(writers), minio().s3);
    };
    const some = (): number => Math.ceil(random() * appendsMax);
    try {
      let writer = next();
      for (let done = 1; done <= rounds; done += 1) {
        writer = await round(writer, next, some);
      }
      await writer.kill();
      await check(url, ledger);
    } catch (error) {
      throw new Error(`Seed ${seed} fails`, { cause: error });
    }
    expect(ledger.count("acknowledged")).toBeGreaterThan(rounds);
  }

  test(`are killed ${rounds} times at random moments, and nothing acknowledged is lost`, async () => {
    await chain(rounds, async (writer, next, some) => {
      await writer.untilAcknowledged(some());
      await writer.kill();
      return next();
    });
  });

  test("are killed before they have even opened, and what was there stays there", async () => {
    await chain(rounds, async (writer, next, some) => {
      await writer.untilAcknowledged(Math.ceil(some() / 20));
      await writer.kill();
      const short = next();
      // Any moment will do: while it starts, opens, or serves.
      await Bun.sleep(some() * 4);
      await short.kill();
      return next();
    });
  });

  test(`are stopped ${rounds} times while another takes over: resumed, they acknowledge nothing and say why`, async () => {
    const noticed: number[] = [];
    await chain(rounds, async (writer, next, some) => {
      await writer.untilAcknowledged(some());
      writer.stop();
      const successor = next();
      await successor.untilAcknowledged(some());
      writer.resume();
      await writer.untilEnded();
      expect(writer.stopped).toMatchObject({ state: "fenced", code: "writer-fenced" });
      expect(writer.acknowledgedByZombie).toBe(0);
      noticed.push(writer.noticedMs ?? Number.POSITIVE_INFINITY);
      return successor;
    });
    expect(noticed.filter((ms) => !Number.isFinite(ms))).toEqual([]);
    if (process.env.STRATA_FAULT_REPORT !== undefined) console.log(`noticed within ${Math.max(...noticed)} ms`);
  });

  test("are stopped for good by a takeover without any pause", async () => {
    await chain(busyRounds, async (writer, next, some) => {
      await writer.untilAcknowledged(some());
      const successor = next();
      await writer.untilEnded();
      expect(writer.stopped).toMatchObject({ state: "fenced", code: "writer-fenced" });
      await successor.untilAcknowledged(1);
      return successor;
    });
  });
});
