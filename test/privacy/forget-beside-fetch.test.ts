/** Forgetting a subject while its key is being fetched: the key does not come back, and what is acknowledged behind it is readable. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  defineProjection,
  type EventStore,
  type KeyService,
  localKeyService,
  type OpenOptions,
  StoreClosedError,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";
import { destroyedKeysMax, SubjectKey, SubjectKeyRing } from "../../src/privacy/subject-key.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, errorOf, until } from "../support/collect.ts";
import { masterKey, people, registered } from "../support/people.ts";
import { tick } from "../support/simulated-objects.ts";

setDefaultTimeout(60_000);

/** Holds whoever comes while it is closed. */
class Gate {
  readonly #held: (() => void)[] = [];
  isClosed = false;

  get held(): number {
    return this.#held.length;
  }

  async pass(): Promise<void> {
    if (this.isClosed) await new Promise<void>((resolve) => this.#held.push(resolve));
  }

  open(): void {
    this.isClosed = false;
    for (const go of this.#held.splice(0)) go();
  }
}

/** A storage with two people in it, whose keys a store that is opened anew has yet to fetch. */
async function coldStorage(): Promise<{
  readonly wraps: Gate;
  readonly unwraps: Gate;
  readonly gets: Gate;
  readonly puts: Gate;
  open(options?: Partial<OpenOptions<typeof people>>): Promise<EventStore<typeof people>>;
}> {
  const storage = createMemoryStorage();
  const objects = openMemoryObjects(systemClock);
  const [wraps, unwraps, gets, puts] = [new Gate(), new Gate(), new Gate(), new Gate()];
  const held: ObjectAccess = {
    ...objects,
    // What there was when it was asked for, however long the answer takes.
    get: async (name) => {
      const found = await objects.get(name);
      await gets.pass();
      return found;
    },
    put: async (...given) => {
      await puts.pass();
      return await objects.put(...given);
    },
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  const local = localKeyService(masterKey);
  const keyService: KeyService = {
    currentKeyId: () => local.currentKeyId(),
    wrap: async (key, context) => {
      await wraps.pass();
      return await local.wrap(key, context);
    },
    unwrap: async (wrapped, context) => {
      await unwraps.pass();
      return await local.unwrap(wrapped, context);
    },
  };
  const open = async (options: Partial<OpenOptions<typeof people>> = {}): Promise<EventStore<typeof people>> =>
    await openEventStoreOn(openMemoryKv(storage), { events: [people], encryption: { keyService }, ...options }, held);
  await using store = await open();
  await store.append("person-1", [registered("1", "Kim")], { expectedVersion: 0 });
  await store.append("person-2", [registered("2", "Lee")], { expectedVersion: 0 });
  return { wraps, unwraps, gets, puts, open };
}

async function namesIn(store: EventStore<typeof people>): Promise<unknown[]> {
  const events = await collect(store.readStream("person-1"));
  return events.map(({ data }) => ("name" in data ? data.name : undefined));
}

/** Gives `work` every chance to end that it can have without being helped. */
async function settle(work: Promise<unknown>): Promise<void> {
  let isSettled = false;
  const ended = (): void => {
    isSettled = true;
  };
  work.then(ended, ended);
  for (let ticks = 0; ticks < 200 && !isSettled; ticks += 1) await tick();
}

describe("Forgetting a subject", () => {
  test("while a read has its key unwrapped: the key does not come back", async () => {
    const { unwraps, open } = await coldStorage();
    await using store = await open();
    unwraps.isClosed = true;
    const reading = namesIn(store);
    await until(() => unwraps.held === 1);
    await store.forget("person:1");
    unwraps.open();
    expect(await reading).toEqual([null]);
    expect(await namesIn(store)).toEqual([null]);
  });

  test("while a read has its key unwrapped, and closing the store: the key is in nobody's hands", async () => {
    const { unwraps, open } = await coldStorage();
    const store = await open();
    unwraps.isClosed = true;
    const reading = errorOf(namesIn(store));
    await until(() => unwraps.held === 1);
    await store.forget("person:1");
    await store.close();
    unwraps.open();
    expect(await reading).toBeInstanceOf(StoreClosedError);
  });

  test("is not what an append is told whose key is unwrapped when the store closes", async () => {
    const { unwraps, open } = await coldStorage();
    const store = await open();
    unwraps.isClosed = true;
    const appending = errorOf(store.append("person-1", [registered("1", "Robin")], { expectedVersion: "any" }));
    await until(() => unwraps.held === 1);
    await store.close();
    unwraps.open();
    const error = await appending;
    expect(error).toBeInstanceOf(StoreClosedError);
    expect(error.outcome).toBe("not-applied");
  });

  test("while an append has its key unwrapped: it is sealed under another one", async () => {
    const { unwraps, open } = await coldStorage();
    {
      await using store = await open();
      unwraps.isClosed = true;
      const appending = store.append("person-1", [registered("1", "Robin")], { expectedVersion: "any" });
      await until(() => unwraps.held === 1);
      await store.forget("person:1");
      unwraps.open();
      await appending;
      await store.append("person-1", [registered("1", "Alex")], { expectedVersion: "any" });
      expect(await namesIn(store)).toEqual([null, "Robin", "Alex"]);
    }
    await using store = await open();
    expect(await namesIn(store)).toEqual([null, "Robin", "Alex"]);
  });

  test("while an append waits for the key of another one: both are sealed", async () => {
    const { wraps, open } = await coldStorage();
    const cards = defineProjection("cards", {
      ...{ version: 1, mode: "inline", document: v.object({ name: v.nullable(v.string()) }) },
      on: { Registered: ({ data }, docs) => docs.set(data.id, { name: data.name }) },
    });
    {
      await using store = await open({ projections: [cards] });
      wraps.isClosed = true;
      const both = [registered("1", "Robin"), registered("3", "Alex")];
      const appending = store.append("person-1", both, { expectedVersion: "any" });
      await until(() => wraps.held === 1);
      const forgetting = store.forget("person:1");
      await settle(forgetting);
      wraps.open();
      await Promise.all([appending, forgetting]);
      expect(await namesIn(store)).toEqual([null, "Robin", "Alex"]);
      expect(await store.documents(cards).getMany(["1", "3"])).toEqual([{ name: "Robin" }, { name: "Alex" }]);
    }
    await using store = await open({ projections: [cards] });
    expect(await namesIn(store)).toEqual([null, "Robin", "Alex"]);
  });

  test("while a read has its key object fetched: what it finds is not kept", async () => {
    const { gets, open } = await coldStorage();
    {
      await using store = await open();
      gets.isClosed = true;
      const reading = namesIn(store);
      await until(() => gets.held === 1);
      // It is this one GET that is slow.
      gets.isClosed = false;
      const forgetting = store.forget("person:1");
      await settle(forgetting);
      gets.open();
      await Promise.all([forgetting, reading]);
      expect(await namesIn(store)).toEqual([null]);
      await store.append("person-1", [registered("1", "Robin")], { expectedVersion: "any" });
    }
    await using store = await open();
    expect(await namesIn(store)).toEqual([null, "Robin"]);
  });

  test("whose key object a read asks for while it is written anew: what it finds is not kept", async () => {
    const { gets, puts, open } = await coldStorage();
    {
      await using store = await open();
      puts.isClosed = true;
      const forgetting = store.forget("person:1");
      await until(() => puts.held === 1);
      gets.isClosed = true;
      const reading = namesIn(store);
      await settle(reading);
      puts.open();
      await settle(forgetting);
      gets.open();
      await Promise.all([forgetting, reading]);
      expect(await namesIn(store)).toEqual([null]);
      await store.append("person-1", [registered("1", "Robin")], { expectedVersion: "any" });
    }
    await using store = await open();
    expect(await namesIn(store)).toEqual([null, "Robin"]);
  });
});

test("Ids of destroyed keys are remembered up to a bound", () => {
  const ring = new SubjectKeyRing();
  const add = (id: string): SubjectKey =>
    ring.add(new SubjectKey({ subject: "aa", id }, { bytes: Buffer.alloc(32, 1) }, 0));
  ring.destroy(["first", "second"], 7);
  const late = add("first");
  expect(late).toMatchObject({ bytes: undefined, forgottenAtMs: 7 });
  ring.setCurrent(late);
  expect(ring.current("aa")).toBeUndefined();
  ring.destroy(
    Array.from({ length: destroyedKeysMax - 1 }, (_, index) => `${index}`),
    8,
  );
  ring.destroy(["last"], 9);
  expect(add("second").forgottenAtMs).toBeUndefined();
  expect(add("last").forgottenAtMs).toBe(9);
});
