/** What a writer is told when it was fenced: once, with who took over, and not once it is being closed. */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { openEventStore, StorageUnavailableError, WriterFencedError } from "../../src/index.ts";
import type { KvStatus } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type FencedInfo, FencingWatch } from "../../src/store/fencing-watch.ts";
import { Lease } from "../../src/store/lease.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { createGatedKv } from "../support/gated-kv.ts";
import { simulateObjects } from "../support/simulated-objects.ts";

setDefaultTimeout(60_000);

const fencedStatus: KvStatus = { state: "fenced", error: new WriterFencedError() };
const failedStatus: KvStatus = { state: "failed", error: new StorageUnavailableError("stood still") };

describe("The watch", () => {
  let watch: FencingWatch | undefined;
  afterEach(() => watch?.end());

  const objects = () => simulateObjects(systemClock);
  const leaseOf = (access: ReturnType<ReturnType<typeof objects>["access"]>, instanceId: string): Lease =>
    new Lease({ objects: access, clock: systemClock, writer: { instanceId, host: "h", pid: 1 }, intervalMs: 1_000 });

  interface Told {
    status: KvStatus;
    readonly infos: FencedInfo[];
    readonly errors: unknown[];
    stopped: number;
  }

  function watchOver(told: Told, lease: Lease | undefined, onFenced?: (info: FencedInfo) => unknown): FencingWatch {
    watch = new FencingWatch({
      status: () => told.status,
      lease,
      onFenced: onFenced ?? ((info) => told.infos.push(info)),
      onError: (error) => told.errors.push(error),
      onStopped: () => {
        told.stopped += 1;
      },
    });
    return watch;
  }

  const nothingTold = (): Told => ({ status: { state: "open" }, infos: [], errors: [], stopped: 0 });

  test("notices by itself, and tells once who took over", async () => {
    const simulated = objects();
    const told = nothingTold();
    const [own, other] = [leaseOf(simulated.access(), "a"), leaseOf(simulated.access(), "b")];
    await own.seize();
    await other.seize();
    watchOver(told, own);
    told.status = fencedStatus;
    await until(() => told.infos.length > 0);
    for (let n = 0; n < 10; n += 1) watch?.check();
    await new Promise((resolve) => setImmediate(resolve));
    expect(told.infos).toMatchObject([{ error: { code: "writer-fenced" }, takenOverBy: { instanceId: "b" } }]);
    expect(told).toMatchObject({ stopped: 1, errors: [] });
    // A fenced writer leaves the lease alone.
    const { puts } = simulated.requests;
    await own.renew();
    expect(simulated.requests.puts).toBe(puts);
  });

  test("looks again for a new writer that could not store its lease yet, and tells without it after three looks", async () => {
    const simulated = objects();
    const told = nothingTold();
    const own = leaseOf(simulated.access(), "a");
    await own.seize();
    const { gets } = simulated.requests;
    watchOver(told, own);
    told.status = fencedStatus;
    watch?.check();
    await until(() => told.infos.length > 0);
    expect(told.infos).toEqual([{ error: fencedStatus.error, takenOverBy: undefined }]);
    expect(simulated.requests.gets - gets).toBe(3);
  });

  test("names nobody where this writer's own lease never stood there: who does may be older", async () => {
    const simulated = objects();
    const told = nothingTold();
    await leaseOf(simulated.access(), "older").seize();
    watchOver(told, leaseOf(simulated.access(), "a"));
    told.status = fencedStatus;
    watch?.check();
    await until(() => told.infos.length > 0);
    expect(told.infos[0]?.takenOverBy).toBeUndefined();
  });

  test("tells a writer that failed for another reason only where somebody else has its lease", async () => {
    for (const taken of [true, false]) {
      const simulated = objects();
      const told = nothingTold();
      const own = leaseOf(simulated.access(), "a");
      await own.seize();
      if (taken) await leaseOf(simulated.access(), "b").seize();
      const { gets } = simulated.requests;
      watchOver(told, own);
      told.status = failedStatus;
      watch?.check();
      await until(() => simulated.requests.gets - gets === (taken ? 1 : 3));
      await new Promise((resolve) => setImmediate(resolve));
      expect(told.infos.map((info) => info.takenOverBy?.instanceId)).toEqual(taken ? ["b"] : []);
      expect(told.stopped).toBe(1);
    }
  });

  test("tells nothing of a store that was closed, or is closed while it looks who took over", async () => {
    const simulated = objects();
    const told = nothingTold();
    const own = leaseOf(simulated.access(), "a");
    await own.seize();
    watchOver(told, own);
    told.status = { state: "closed" };
    watch?.check();
    expect(told).toMatchObject({ infos: [], stopped: 0 });
    const { gets } = simulated.requests;
    watchOver(told, own);
    told.status = fencedStatus;
    watch?.check();
    await until(() => simulated.requests.gets > gets);
    watch?.end();
    for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
    expect(told.infos).toEqual([]);
  });

  test("reports what the handler throws or rejects with, and survives a reporter that throws", async () => {
    const told = nothingTold();
    told.status = fencedStatus;
    for (const handler of [
      () => {
        throw "thrown";
      },
      () => Promise.reject("rejected"),
    ]) {
      watchOver(told, undefined, handler).check();
      watchOver({ ...told, errors: Object.freeze([]) as unknown as unknown[] }, undefined, handler).check();
    }
    await until(() => told.errors.length === 2);
    expect(told.errors.toSorted()).toEqual(["rejected", "thrown"]);
  });
});

describe("A fenced store", () => {
  test("tells so once, also while nobody writes, and wakes who follows it", async () => {
    const storage = createMemoryStorage();
    const infos: FencedInfo[] = [];
    await using store = await openEventStoreOn(openMemoryKv(storage), { onFenced: (info) => infos.push(info) });
    const following = errorOf(collect(store.subscribe({ from: "start" })));
    await using next = await openEventStoreOn(openMemoryKv(storage), {});
    expect((await following).code).toBe("writer-fenced");
    await until(() => infos.length > 0);
    const append = (): Promise<unknown> => store.append("a-1", [{ type: "T", data: 1 }], { expectedVersion: "any" });
    expect((await errorOf(append())).code).toBe("writer-fenced");
    expect((await errorOf(append())).code).toBe("writer-fenced");
    expect(infos.map((info) => [info.error.code, info.takenOverBy])).toEqual([["writer-fenced", undefined]]);
    expect(next.health().state).toBe("open");
  });

  test("tells nothing once its close has been called, though a commit is still under way", async () => {
    const told: string[] = [];
    const storage = createMemoryStorage();
    const gate = createGatedKv(storage);
    const store = await openEventStoreOn(gate.kv, { onFenced: () => told.push("closing") });
    gate.shut();
    const appending = errorOf(store.append("a-1", [{ type: "T", data: 1 }], { expectedVersion: "any" }));
    await until(() => gate.waiting() === 1);
    const closing = store.close();
    openMemoryKv(storage);
    expect(gate.kv.status().state).toBe("fenced");
    // A store that is opened now is looked at later than the one that closes.
    const other = createMemoryStorage();
    await using noticed = await openEventStoreOn(openMemoryKv(other), { onFenced: () => told.push("other") });
    openMemoryKv(other);
    await until(() => told.length > 0);
    gate.open();
    expect((await appending).code).toBe("writer-fenced");
    await closing;
    expect(told).toEqual(["other"]);
    expect(noticed.health().state).toBe("fenced");
  });

  test("on a folder tells who took over, and neither the one that was closed before nor the one that writes is told", async () => {
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}`;
    const infos: string[] = [];
    const open = (writerName: string) =>
      openEventStore({
        url,
        writerName,
        onFenced: ({ takenOverBy }) => infos.push(`${writerName} by ${takenOverBy?.writerName}`),
      });
    await (await open("first")).close();
    const second = await open("second");
    const third = await open("third");
    const event = { type: "T", data: 1 };
    const error = await errorOf(second.append("a-1", [event], { expectedVersion: "any" }));
    expect(error.code).toBe("writer-fenced");
    await third.append("a-1", [event], { expectedVersion: "no-stream" });
    await until(() => infos.length > 0);
    await second.close();
    await third.close();
    expect(infos).toEqual(["second by third"]);
  });
});
