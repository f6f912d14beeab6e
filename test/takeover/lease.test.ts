/** The lease on a clock that the test turns: taking, renewing, losing, getting back and releasing it; and standbys that wait for it. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { decodeLease, leaseName, unreadableExpiresAfterMs } from "../../src/format/lease-record.ts";
import { StorageUnavailableError } from "../../src/index.ts";
import { Lease } from "../../src/store/lease.ts";
import { Standby, waitForLease } from "../../src/store/standby.ts";
import { TurnedClock } from "../kv/stores.ts";
import { errorOf } from "../support/collect.ts";
import { type SimulatedObjects, simulateObjects } from "../support/simulated-objects.ts";

setDefaultTimeout(60_000);

const intervalMs = 1_000;
const expiresAfterMs = 3 * intervalMs;
const pollMs = 200;

class World {
  readonly clock: TurnedClock = new TurnedClock();
  readonly objects: SimulatedObjects = simulateObjects(this.clock);

  lease(instanceId: string): Lease {
    const writer = { instanceId, writerName: `name of ${instanceId}`, host: "here", pid: 1 };
    return new Lease({ objects: this.objects.access(), clock: this.clock, writer, intervalMs });
  }

  standby(lease: Lease): Standby {
    return new Standby({ lease, clock: this.clock, pollMs });
  }

  async stored(): Promise<ReturnType<typeof decodeLease> | undefined> {
    const found = await this.objects.access().get(leaseName);
    return found === undefined ? undefined : decodeLease(found.bytes);
  }

  async holder(): Promise<string | undefined> {
    const stored = await this.stored();
    return stored?.kind === "lease" ? `${stored.lease.instanceId} ${stored.lease.state}` : stored?.kind;
  }

  /** Lets the standby look at each poll for so long; true as soon as it has won. */
  async lookFor(standby: Standby, ms: number): Promise<boolean> {
    for (let passed = 0; passed < ms; passed += pollMs) {
      if (await standby.look()) return true;
      this.clock.advance(pollMs);
    }
    return false;
  }

  async put(text: string): Promise<void> {
    await this.objects.access().put(leaseName, Buffer.from(text));
  }
}

describe("A lease", () => {
  test("says who writes, from where and since when, in a text that people can read", async () => {
    const world = new World();
    await world.lease("a").seize();
    const found = await world.objects.access().get(leaseName);
    const text = Buffer.from(found?.bytes ?? []).toString();
    expect(JSON.parse(text)).toMatchObject({
      format: 1,
      state: "held",
      writerName: "name of a",
      host: "here",
      pid: 1,
      startedAt: "2023-11-14T22:13:20.000Z",
      renewedAt: "2023-11-14T22:13:20.000Z",
      expiresAt: "2023-11-14T22:13:23.000Z",
      expiresAfterMs,
      instanceId: "a",
    });
    expect(text).toContain("kept apart by fencing");
    expect(text.split("\n").length).toBeGreaterThan(10);
  });

  test("is renewed by one PUT, which changes its tag, also where no time has passed", async () => {
    const world = new World();
    const lease = world.lease("a");
    await lease.seize();
    const tags = new Set<string | undefined>();
    const texts = new Set<string>();
    for (let n = 0; n < 5; n += 1) {
      const before = { ...world.objects.requests };
      await lease.renew();
      expect(world.objects.requests).toEqual({ gets: before.gets, puts: before.puts + 1 });
      const found = await world.objects.access().get(leaseName);
      tags.add(found?.tag);
      texts.add(Buffer.from(found?.bytes ?? []).toString());
    }
    expect([tags.size, texts.size]).toEqual([5, 5]);
  });

  test("is renewed once at a time", async () => {
    const world = new World();
    const lease = world.lease("a");
    await lease.seize();
    const { puts } = world.objects.requests;
    await Promise.all([lease.renew(), lease.renew(), lease.renew()]);
    expect(world.objects.requests.puts).toBe(puts + 1);
  });

  test("that cannot be stored stops nothing, shows in health, and is stored at the next interval that can", async () => {
    const world = new World();
    world.objects.outage = new StorageUnavailableError("no");
    const lease = world.lease("a");
    await lease.seize();
    expect(lease.health()).toMatchObject({ state: "failing", error: { code: "storage-unavailable" } });
    await lease.renew();
    expect(lease.health().state).toBe("failing");
    world.objects.outage = undefined;
    await lease.renew();
    expect(lease.health()).toEqual({ state: "held", instanceId: "a", renewedAt: new Date(world.clock.wallMs) });
    expect(await world.holder()).toBe("a held");
    world.objects.outage = new Error("not one of ours");
    await lease.renew();
    expect(lease.health()).toMatchObject({ state: "failing", error: { code: "storage-unavailable" } });
  });

  test("is found again by its writer where the answer to a renewal got lost", async () => {
    const world = new World();
    const writer = { instanceId: "a", host: "here", pid: 1 };
    let lose = false;
    const access = world.objects.access({ delay: 0, failBefore: 0, failAfter: 0.5 }, () => (lose ? 0 : 1));
    const lease = new Lease({ objects: access, clock: world.clock, writer, intervalMs });
    await lease.seize();
    lose = true;
    await lease.renew();
    expect(lease.health().state).toBe("failing");
    lose = false;
    await lease.renew();
    expect(lease.health().state).toBe("held");
    expect(await world.holder()).toBe("a held");
  });

  test("that was removed is stored again", async () => {
    const world = new World();
    const lease = world.lease("a");
    await lease.seize();
    await world.objects.access().delete(leaseName);
    await lease.renew();
    expect(await world.holder()).toBe("a held");
  });

  test("is taken from whoever holds it by an opening that waits for nobody, and the loser leaves it alone", async () => {
    const world = new World();
    const [first, second] = [world.lease("a"), world.lease("b")];
    await first.seize();
    await second.seize();
    expect(await world.holder()).toBe("b held");
    for (let n = 0; n < 20; n += 1) {
      await first.renew();
      world.clock.advance(intervalMs);
      await second.renew();
    }
    expect(await world.holder()).toBe("b held");
    expect(first.health()).toMatchObject({ state: "lost", takenBy: { instanceId: "b", writerName: "name of b" } });
    await first.release();
    expect(await world.holder()).toBe("b held");
  });

  test("comes back to a writer that is not fenced, once the one who took it has stood still for long", async () => {
    const world = new World();
    const [first, second] = [world.lease("a"), world.lease("b")];
    await first.seize();
    await second.seize();
    let waitedMs = 0;
    for (; (await world.holder()) === "b held" && waitedMs < 60_000; waitedMs += intervalMs) {
      await first.renew();
      world.clock.advance(intervalMs);
    }
    expect(await world.holder()).toBe("a held");
    // The engine tells a fenced writer so within less.
    expect(waitedMs).toBeGreaterThanOrEqual(5_000);
    expect(waitedMs).toBeLessThanOrEqual(10_000);
    expect(first.health().state).toBe("held");
  });

  test("does not come back to a writer that has stopped while it looked", async () => {
    const world = new World();
    const [first, second] = [world.lease("a"), world.lease("b")];
    await first.seize();
    await second.seize();
    first.stop();
    for (let n = 0; n < 20; n += 1) {
      await first.renew();
      world.clock.advance(intervalMs);
    }
    expect(await world.holder()).toBe("b held");
    expect(first.health().state).toBe("held");
  });

  test("is released on close, and not renewed afterwards", async () => {
    const world = new World();
    const lease = world.lease("a");
    await lease.seize();
    await lease.release();
    expect(await world.holder()).toBe("a released");
    expect(lease.health().state).toBe("released");
    const { puts } = world.objects.requests;
    await lease.renew();
    expect(world.objects.requests.puts).toBe(puts);
  });

  test("whose release fails does not fail the close", async () => {
    const world = new World();
    const lease = world.lease("a");
    await lease.seize();
    world.objects.outage = new StorageUnavailableError("no");
    await lease.release();
    expect(lease.health()).toMatchObject({ state: "released", error: { code: "storage-unavailable" } });
  });

  test("is put back where the store could not be opened, so that its writer goes on", async () => {
    const world = new World();
    const [first, second] = [world.lease("a"), world.lease("b")];
    await first.seize();
    await second.seize();
    await second.abandon();
    expect(await world.holder()).toBe("a held");
    await first.renew();
    expect(first.health().state).toBe("held");
    const third = world.lease("c");
    await first.release();
    await third.seize();
    await third.abandon();
    expect(await world.holder()).toBe("c released");
  });
});

describe("A standby", () => {
  test("takes a lease that is not there, without waiting", async () => {
    const world = new World();
    expect(await world.standby(world.lease("b")).look()).toBe(true);
    expect(await world.holder()).toBe("b held");
  });

  test("waits while the lease is renewed, at one GET a look", async () => {
    const world = new World();
    const writer = world.lease("a");
    await writer.seize();
    const standby = world.standby(world.lease("b"));
    const before = { ...world.objects.requests };
    for (let n = 0; n < 50; n += 1) {
      if (n % 5 === 4) await writer.renew();
      expect(await standby.look()).toBe(false);
      world.clock.advance(pollMs);
    }
    expect(world.objects.requests).toEqual({ gets: before.gets + 50, puts: before.puts + 10 });
    expect(standby.writer).toMatchObject({ instanceId: "a", host: "here", pid: 1 });
  });

  test("takes a lease that was released at its next look", async () => {
    const world = new World();
    const writer = world.lease("a");
    await writer.seize();
    const standby = world.standby(world.lease("b"));
    expect(await standby.look()).toBe(false);
    await writer.release();
    expect(await standby.look()).toBe(true);
    expect(await world.holder()).toBe("b held");
  });

  test("takes a lease that it has seen unchanged for as long as it lasts, and no earlier", async () => {
    const world = new World();
    await world.lease("a").seize();
    const standby = world.standby(world.lease("b"));
    expect(await world.lookFor(standby, expiresAfterMs)).toBe(false);
    expect(await standby.look()).toBe(true);
  });

  test("goes by its own clock: a wall clock that is wrong by years makes a lease neither live nor expired", async () => {
    for (const wrongMs of [-1e11, 1e11]) {
      const world = new World();
      const writer = world.lease("a");
      await writer.seize();
      world.clock.wallMs += wrongMs;
      const standby = world.standby(world.lease("b"));
      expect(await world.lookFor(standby, expiresAfterMs - pollMs)).toBe(false);
      await writer.renew();
      expect(await world.lookFor(standby, expiresAfterMs)).toBe(false);
      expect(await standby.look()).toBe(true);
    }
  });

  test("that stood still itself, or could not look, takes nobody for gone", async () => {
    const world = new World();
    const writer = world.lease("a");
    await writer.seize();
    const standby = world.standby(world.lease("b"));
    expect(await standby.look()).toBe(false);
    world.clock.advance(3_600_000);
    expect(await standby.look()).toBe(false);
    world.objects.outage = new StorageUnavailableError("no");
    for (let n = 0; n < 100; n += 1) {
      expect((await errorOf(standby.look())).code).toBe("storage-unavailable");
      world.clock.advance(pollMs);
    }
    world.objects.outage = undefined;
    expect(await standby.look()).toBe(false);
    await writer.renew();
    expect(await world.lookFor(standby, expiresAfterMs)).toBe(false);
  });

  test("takes what it cannot read for held, until it has not changed for a minute", async () => {
    const unreadable = [
      "",
      "{",
      "null",
      "[]",
      '"text"',
      "{}",
      '{"format":"1"}',
      '{"format":2,"state":"released"}',
      '{"format":1,"state":"held"}',
      '{"format":1,"state":"gone","instanceId":"a","host":"h","pid":1,"startedAt":"2026-01-01T00:00:00Z","renewedAt":"2026-01-01T00:00:00Z","expiresAfterMs":1000}',
      '{"format":1,"state":"held","instanceId":"a","host":"h","pid":1,"startedAt":"2026-01-01T00:00:00Z","renewedAt":"2026-01-01T00:00:00Z","expiresAfterMs":1e12}',
      '{"format":1,"state":"held","instanceId":"a","host":"h","pid":1,"startedAt":"soon","renewedAt":"2026-01-01T00:00:00Z","expiresAfterMs":1000}',
      '{"format":1,"state":"released","writerName":7,"instanceId":"a","host":"h","pid":1,"startedAt":"2026-01-01T00:00:00Z","renewedAt":"2026-01-01T00:00:00Z","expiresAfterMs":1000}',
      `{"format":1,"note":"${"x".repeat(20_000)}"}`,
    ];
    for (const text of unreadable) {
      const world = new World();
      await world.put(text);
      expect(await world.holder()).toBe("unreadable");
      const standby = world.standby(world.lease("b"));
      expect(await world.lookFor(standby, unreadableExpiresAfterMs)).toBe(false);
      expect(standby.writer).toBeUndefined();
      expect(await standby.look()).toBe(true);
      expect(await world.holder()).toBe("b held");
    }
  });

  test("has the lease where its claim was stored and the answer got lost", async () => {
    const world = new World();
    let lose = true;
    const access = world.objects.access({ delay: 0, failBefore: 0, failAfter: 0.5 }, () => (lose ? 0 : 1));
    const writer = { instanceId: "b", host: "here", pid: 1 };
    // Answers to a GET come through: only a PUT's is lost.
    const objects = { ...access, get: world.objects.access().get };
    const standby = world.standby(new Lease({ objects, clock: world.clock, writer, intervalMs }));
    expect((await errorOf(standby.look())).outcome).toBe("unknown");
    expect(await world.holder()).toBe("b held");
    lose = false;
    expect(await standby.look()).toBe(true);
    expect(await world.holder()).toBe("b held");
  });

  test("gives up after its time, and says who has the lease", async () => {
    const world = new World();
    await world.lease("a").seize();
    const options = { lease: world.lease("b"), clock: world.clock, pollMs };
    const error = await errorOf(waitForLease(options, { timeoutMs: 0, signal: undefined }));
    expect(error).toMatchObject({ code: "writer-active", outcome: "not-applied", writer: { instanceId: "a" } });
    expect(error.message).toBe('Another writer still holds the store\'s lease after 0 ms: process 1 on "here"');
  });

  test("gives up when its signal is aborted, with the signal's reason, before it asks and while it waits", async () => {
    const world = new World();
    await world.lease("a").seize();
    const lease = world.lease("b");
    const wait = (signal: AbortSignal): Promise<unknown> =>
      waitForLease({ lease, clock: world.clock, pollMs: 3_600_000 }, { timeoutMs: undefined, signal }).catch((e) => e);
    expect(await wait(AbortSignal.abort("before"))).toBe("before");
    const giving = new AbortController();
    const waiting = wait(giving.signal);
    giving.abort("while");
    expect(await waiting).toBe("while");
  });

  test("whose first look fails says so at once; later ones are tried again for ten minutes", async () => {
    const world = new World();
    await world.lease("a").seize();
    const lease = world.lease("b");
    world.objects.outage = new StorageUnavailableError("no");
    const limits = { timeoutMs: undefined, signal: undefined };
    const first = await errorOf(waitForLease({ lease, clock: world.clock, pollMs: 1 }, limits));
    expect(first).toMatchObject({ code: "storage-unavailable" });
    world.objects.outage = undefined;
    const looks: number[] = [];
    const clock = { now: () => 0, monotonic: () => world.clock.monotonicMs };
    const counting = {
      ...world.objects.access(),
      get: async (name: string) => {
        looks.push(world.clock.monotonicMs);
        if (looks.length > 1) world.objects.outage = new StorageUnavailableError("no");
        world.clock.advance(60_000);
        return await world.objects.access().get(name);
      },
    };
    const writer = { instanceId: "c", host: "here", pid: 1 };
    const counted = new Lease({ objects: counting, clock, writer, intervalMs });
    expect((await errorOf(waitForLease({ lease: counted, clock, pollMs: 1 }, limits))).code).toBe(
      "storage-unavailable",
    );
    expect(looks.length).toBe(12);
  });
});
