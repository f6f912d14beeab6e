/**
 * Several processes stand by for one store while its storage delays and fails by a seed. Whoever gets the lease opens the store,
 * works, and then closes it, dies, or stands still and comes back. At no time do two of them hold the lease, nothing that was acknowledged
 * is lost, and everybody gets a turn.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { leaseName } from "../../src/format/lease-record.ts";
import { EventStoreError } from "../../src/index.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { Lease } from "../../src/store/lease.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { Standby } from "../../src/store/standby.ts";
import { TurnedClock } from "../kv/stores.ts";
import { collect } from "../support/collect.ts";
import { seededRandom } from "../support/faulty-kv.ts";
import { type ObjectFaults, type SimulatedObjects, simulateObjects, tick } from "../support/simulated-objects.ts";

setDefaultTimeout(60_000);

const seeds = 300;
const intervalMs = 1_000;
const expiresAfterMs = 3 * intervalMs;
const pollMs = 200;
/** So much time passes while others have their turn. */
const stepMs = 40;

type Ending = "close" | "die" | "stand still";

class World {
  readonly clock: TurnedClock = new TurnedClock();
  readonly objects: SimulatedObjects = simulateObjects(this.clock);
  readonly storage: MemoryStorage = createMemoryStorage();
  readonly random: () => number;
  readonly faults: ObjectFaults;
  readonly acknowledged: string[] = [];
  readonly winners: string[] = [];
  readonly trace: string[] = [];
  holder: { readonly lease: Lease; releasing: boolean } | undefined;
  fenced = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const rate = (most: number): number => this.random() * most;
    this.faults = { delay: rate(0.8), failBefore: rate(0.2), failAfter: rate(0.2) };
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[Math.floor(this.random() * choices.length)] ?? choices[0];
  }

  async sleep(ms: number): Promise<void> {
    const until = this.clock.monotonicMs + ms;
    while (this.clock.monotonicMs < until) await tick();
  }

  lease(id: string): Lease {
    const writer = { instanceId: id, host: "here", pid: 1 };
    return new Lease({ objects: this.objects.access(this.faults, this.random), clock: this.clock, writer, intervalMs });
  }

  /** Called by who has just won: the one before must be gone, or must have been silent for as long as its lease lasts. */
  won(id: string, lease: Lease): void {
    const before = this.holder?.lease.health();
    this.trace.push(`${id} wins at ${this.clock.monotonicMs}`);
    // A release may be stored while its answer is still under way.
    if (before !== undefined && before.state !== "released" && this.holder?.releasing === false) {
      const silentMs = this.clock.wallMs - (before.renewedAt?.getTime() ?? 0);
      expect(silentMs).toBeGreaterThanOrEqual(expiresAfterMs);
    }
    this.holder = { lease, releasing: false };
    this.winners.push(id);
  }
}

async function standBy(world: World, id: string): Promise<Lease> {
  const lease = world.lease(id);
  const standby = new Standby({ lease, clock: world.clock, pollMs });
  for (;;) {
    const won = await standby.look().catch((error: unknown) => {
      if (!(error instanceof EventStoreError)) throw error;
      return false;
    });
    if (won) {
      world.won(id, lease);
      return lease;
    }
    await world.sleep(pollMs);
  }
}

async function work(world: World, id: string, lease: Lease, ending: Ending): Promise<void> {
  const clock = { now: () => world.clock.wallMs, monotonic: () => world.clock.monotonicMs };
  const store = await openEventStoreOn(openMemoryKv(world.storage), { clock, commitTimeoutMs: 1_000_000_000 });
  lease.opened();
  const turns = 2 + Math.floor(world.random() * 6);
  for (let turn = 0; turn < turns; turn += 1) {
    if (ending === "stand still" && turn === 2) await world.sleep(3 * expiresAfterMs);
    const eventId = `${id}.${turn}`;
    try {
      await store.append("s-1", [{ id: eventId, type: "T", data: turn }], { expectedVersion: "any" });
      world.acknowledged.push(eventId);
    } catch (error) {
      expect(error).toMatchObject({ code: "writer-fenced" });
      world.fenced += 1;
      break;
    }
    await world.sleep(intervalMs);
    await lease.renew();
  }
  const fenced = store.health().state !== "open";
  await store.close();
  if (world.holder?.lease === lease && ending !== "die" && !fenced) world.holder.releasing = true;
  if (ending === "die") lease.stop();
  else await (fenced ? lease.leave() : lease.release());
}

async function process(world: World, id: string): Promise<void> {
  await world.sleep(world.random() * 500);
  const lease = await standBy(world, id);
  await work(world, id, lease, world.pick<Ending>(["close", "die", "stand still"]));
}

async function simulate(seed: number): Promise<World> {
  const world = new World(seed);
  const found = world.pick(["absent", "unreadable", "held", "released"]);
  if (found === "unreadable") await world.objects.access().put(leaseName, Buffer.from("?"));
  if (found === "held" || found === "released") {
    const writer = { instanceId: "before", host: "here", pid: 1 };
    const lease = new Lease({ objects: world.objects.access(), clock: world.clock, writer, intervalMs });
    await lease.seize();
    if (found === "released") await lease.release();
    world.holder = { lease, releasing: false };
  }
  const ids = ["a", "b", "c"].slice(0, 2 + Math.floor(world.random() * 2));
  let running = true;
  const all = Promise.all(ids.map((id) => process(world, id))).finally(() => {
    running = false;
  });
  while (running) {
    await tick();
    world.clock.advance(stepMs);
  }
  await all;
  expect(world.winners.toSorted()).toEqual(ids);
  await using store = await openEventStoreOn(openMemoryKv(world.storage), {});
  const log = await collect(store.readAll());
  expect(log.map((event) => event.id).toSorted()).toEqual(world.acknowledged.toSorted());
  return world;
}

test(`Under ${seeds} seeds one standby at a time has the lease, all get it in the end, and nothing acknowledged is lost`, async () => {
  let fenced = 0;
  for (let seed = 1; seed <= seeds; seed += 1) {
    try {
      fenced += (await simulate(seed)).fenced;
    } catch (error) {
      throw new Error(`Seed ${seed} fails`, { cause: error });
    }
  }
  // Else those who stood still would have shown nothing.
  expect(fenced).toBeGreaterThan(seeds / 20);
}, 300_000);

test("The same seed gives the same winners at the same times", async () => {
  for (const seed of [2, 71, 200]) expect((await simulate(seed)).trace).toEqual((await simulate(seed)).trace);
});
