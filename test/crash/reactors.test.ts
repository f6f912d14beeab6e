/**
 * A process whose reactors deliver orders, under load, is killed again and again: no order is passed over, each handling of one
 * carries the same key, so that whoever looks at keys has it once, and the order of a stream is kept.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type EventStore, openEventStore } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { type Delivery, deliveryReactors, poisonType } from "../support/deliveries.ts";
import { seededRandom } from "../support/faulty-kv.ts";

setDefaultTimeout(60_000);

const rounds = 20;
const child = join(import.meta.dir, "../support/crash-reactors-child.ts");

/** Runs the child until it has had so many orders acknowledged, and kills it. Answers how many there were. */
async function runAndKill(url: string, file: string, round: number, orders: number): Promise<number> {
  const running = Bun.spawn([process.execPath, child, url, file, String(round)], { stdout: "pipe", stderr: "inherit" });
  let acknowledged = 0;
  for await (const chunk of running.stdout) {
    acknowledged += Buffer.from(chunk).toString().split("+").length - 1;
    if (acknowledged >= orders && !running.killed) running.kill("SIGKILL");
  }
  await running.exited;
  return acknowledged;
}

async function deliveriesIn(file: string): Promise<readonly Delivery[]> {
  // The last line of a killed process may be a part of one: then it was not delivered, and comes again behind it.
  const lines = (await Bun.file(file).text()).split("\n");
  return lines.flatMap((line) => {
    const start = line.lastIndexOf('{"key"');
    return start < 0 || !line.endsWith("}") ? [] : [JSON.parse(line.slice(start)) as Delivery];
  });
}

async function check(url: string, file: string, acknowledged: number): Promise<number> {
  const opened = Promise.withResolvers<EventStore>();
  const reactors = deliveryReactors(file, opened.promise);
  await using store = await openEventStore({ url, reactors, onError: () => {} });
  opened.resolve(store);
  const orders = await collect(store.readAll({ filter: { types: ["Ordered"] } }));
  const poison = await collect(store.readAll({ filter: { types: [poisonType] } }));
  expect(orders.length + poison.length).toBeGreaterThanOrEqual(acknowledged);
  const last = await store.lastPosition();
  for (const { name } of reactors) await store.waitFor(name, last);

  const keys = new Map<number, Set<string>>();
  const first = new Map<string, number[]>();
  const deliveries = await deliveriesIn(file);
  for (const { key, position, streamName, version } of deliveries) {
    const known = keys.get(position);
    if (known === undefined) first.set(streamName, [...(first.get(streamName) ?? []), version]);
    keys.set(position, (known ?? new Set()).add(key));
  }
  expect([...keys.keys()].toSorted((a, b) => a - b)).toEqual(orders.map(({ position }) => position));
  expect([...keys.values()].every((some) => some.size === 1)).toBe(true);
  expect(new Set([...keys.values()].flatMap((some) => [...some])).size).toBe(orders.length);
  for (const versions of first.values()) expect(versions).toEqual(versions.map((_, index) => index + 1));

  const delivered = await collect(store.readAll({ filter: { types: ["Delivered"] } }));
  const about = delivered.map(({ data }) => (data as { position: number }).position);
  expect(about.toSorted((a, b) => a - b)).toEqual(orders.map(({ position }) => position));

  const parked = await collect(store.parked("outside"));
  expect(parked.map(({ position }) => position)).toEqual(poison.map(({ position }) => position));
  return deliveries.length - orders.length;
}

test(`After ${rounds} kills every order was delivered, and is there once for who looks at keys`, async () => {
  const seed = Date.now() % 1_000_000;
  const random = seededRandom(seed);
  await using folder = await temporaryFolder();
  const url = `file:${join(folder.path, "store")}`;
  const file = join(folder.path, "deliveries");
  let acknowledged = 0;
  let repeated = 0;
  try {
    for (let round = 1; round <= rounds; round += 1) {
      acknowledged += await runAndKill(url, file, round, Math.ceil(random() * 150));
      // Mostly the next child meets what the killed one has left.
      if (round % 5 === 0) repeated = await check(url, file, acknowledged);
    }
  } catch (error) {
    throw new Error(`Seed ${seed} fails`, { cause: error });
  }
  expect(acknowledged).toBeGreaterThan(rounds);
  // Else nothing was shown: answers were lost, and handlings were cut off.
  expect(repeated).toBeGreaterThan(0);
}, 300_000);
