/**
 * A process that runs projections and a process manager with timers, under load, is killed again and again. Read models equal
 * a fold over the log; no command is lost, and none comes about twice.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openEventStore } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, until } from "../support/collect.ts";
import { seededRandom } from "../support/faulty-kv.ts";
import { checkout, shopEvents, totals, totalsOf } from "../support/shop.ts";

setDefaultTimeout(60_000);

const rounds = 20;
const child = join(import.meta.dir, "../support/crash-processors-child.ts");

/** Runs the child until it has had so many orders acknowledged, and kills it. Answers how many there were. */
async function runAndKill(url: string, round: number, orders: number): Promise<number> {
  const running = Bun.spawn([process.execPath, child, url, String(round)], { stdout: "pipe", stderr: "inherit" });
  let acknowledged = 0;
  for await (const chunk of running.stdout) {
    acknowledged += Buffer.from(chunk).toString().split("+").length - 1;
    if (acknowledged >= orders && !running.killed) running.kill("SIGKILL");
  }
  await running.exited;
  return acknowledged;
}

async function check(url: string, acknowledged: number): Promise<void> {
  const projections = [totals("behind", "async"), totals("inline", "inline")];
  const options = { url, events: shopEvents, projections, processManagers: [checkout] };
  await using store = await openEventStore(options);
  const placed = (await collect(store.readAll({ filter: { types: ["OrderPlaced"] } }))).map(
    (event) => event.streamName,
  );
  expect(placed.length).toBeGreaterThanOrEqual(acknowledged);
  // Everything that was asked for comes about, and then there is nothing left to do.
  const reminded = { filter: { types: ["Reminded" as const] } };
  await until(async () => (await collect(store.readAll(reminded))).length >= placed.length, 30_000);
  await store.waitFor("checkout", await store.lastPosition());
  const log = await collect(store.readAll());
  for (const type of ["PaymentAsked", "Reminded"]) {
    const about = log.filter((event) => event.type === type).map((event) => event.streamName.slice("payment-".length));
    expect(about.toSorted()).toEqual(placed.toSorted());
  }
  const expected = [...totalsOf(log)].toSorted(([one], [other]) => (one < other ? -1 : 1));
  await store.waitFor("behind", await store.lastPosition());
  for (const projection of projections) {
    expect(await collect(store.documents(projection).list())).toEqual(expected);
    for (const [key, { orders }] of expected) {
      const found = await collect(store.documents(projection).find("byOrders", `n${orders}`));
      expect(found.map(([its]) => its)).toContain(key);
    }
  }
  expect(store.processors().map(({ parked }) => parked)).toEqual([0, 0, 0, 0]);
}

test(`After ${rounds} kills read models are a fold over the log, and every command came about once`, async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  await using folder = await temporaryFolder();
  const url = `file:${folder.path}`;
  let acknowledged = 0;
  try {
    for (let round = 1; round <= rounds; round += 1) {
      acknowledged += await runAndKill(url, round, Math.ceil(random() * 120));
      // Mostly the next child meets what the killed one has left.
      if (round % 5 === 0) await check(url, acknowledged);
    }
  } catch (error) {
    throw new Error(`Seed ${seed} fails`, { cause: error });
  }
  expect(acknowledged).toBeGreaterThan(rounds);
}, 300_000);
