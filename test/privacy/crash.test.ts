/** A crash between any two steps of forgetting: what was begun is ended when the store is opened again, once. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { defineDecider, openEventStore, StorageUnavailableError } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, until } from "../support/collect.ts";
import { encryption, nameCards, type PeopleStore, people, registered } from "../support/people.ts";
import { steppingKv, steppingObjects } from "../support/stepping.ts";

setDefaultTimeout(60_000);

const decider = defineDecider("person", {
  events: people,
  commands: { Nothing: v.object({}) },
  initialState: (): { name: string | null } => ({ name: "nobody" }),
  evolve: {
    Registered: (_, { data }) => ({ name: data.name }),
    Renamed: (_, { data }) => ({ name: data.name }),
    PlanChanged: (state) => state,
  },
  decide: { Nothing: () => [] },
  snapshots: { version: 1 },
});

const options = { events: [people], encryption, projections: [nameCards] };

async function fill(store: PeopleStore): Promise<void> {
  for (const id of ["1", "2"]) {
    const { position } = await store.append(`person-${id}`, [registered(id)], { expectedVersion: 0 });
    await store.snapshot(decider, id);
    await store.waitFor("name-cards", position);
  }
}

async function receiptsOf(store: PeopleStore): Promise<number> {
  return (await collect(store.readAll({ filter: { types: ["$SubjectForgotten" as never] } }))).length;
}

/** Whether the first person is forgotten, entirely or not at all; the second one is as before. */
async function expectWhole(store: PeopleStore, hasBegun: boolean): Promise<void> {
  if (hasBegun) await until(async () => (await receiptsOf(store)) === 1);
  else await store.forget("person:1");
  const replayed = await store.forget("person:1");
  expect(replayed).toMatchObject({ replayed: true, keys: 1, events: 1, streams: 1, unreached: [] });
  expect(await receiptsOf(store)).toBe(1);
  expect((await store.load(decider, "1")).state.name).toBeNull();
  expect((await store.load(decider, "2")).state.name).toBe(registered("2").data.name);
  expect(await store.documents(nameCards).get("1")).toBeUndefined();
  expect(await store.documents(nameCards).get("2")).toEqual({ name: registered("2").data.name });
}

test("Storage that is gone before any of the writes loses nothing of a forgetting", async () => {
  for (let stop = 1; ; stop += 1) {
    const storage = createMemoryStorage();
    const inner = openMemoryObjects(systemClock);
    const shared: ObjectAccess = { ...inner, close: async () => {} };
    let steps = Number.NEGATIVE_INFINITY;
    const done: string[] = [];
    const onStep = (what: string): void => {
      steps += 1;
      if (steps >= stop) throw new StorageUnavailableError("gone", { outcome: "unknown" });
      if (steps > 0) done.push(what);
    };
    const kv = steppingKv(openMemoryKv(storage), onStep);
    const first = await openEventStoreOn(kv, options, steppingObjects(shared, onStep));
    await fill(first);
    steps = 0;
    const outcome = await first.forget("person:1").then(
      () => "done",
      () => "failed",
    );
    steps = Number.NEGATIVE_INFINITY;
    await first.close().catch(() => {});
    const again = await openEventStoreOn(openMemoryKv(storage), options, shared);
    // Once its record is written, nobody needs to ask for it again.
    await expectWhole(again, done.length > 0);
    await again.close();
    if (outcome === "done") {
      expect(stop).toBeGreaterThan(5);
      break;
    }
  }
});

test("A process that is killed before any of the writes loses nothing of a forgetting", async () => {
  const script = join(import.meta.dir, "../support/forgetting-child.ts");
  let kills = 0;
  for (let stop = 1; ; stop += 1) {
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}`;
    const first = await openEventStore({ url, ...options });
    await fill(first);
    await first.close();
    const child = Bun.spawn([process.execPath, script, folder.path, String(stop)], {
      stdout: "ignore",
      stderr: "pipe",
    });
    const errors = await new Response(child.stderr).text();
    await child.exited;
    expect(errors).toBe("");
    await using again = await openEventStore({ url, ...options });
    await expectWhole(again, stop > 1);
    if (child.signalCode !== "SIGKILL") break;
    kills += 1;
  }
  expect(kills).toBeGreaterThan(4);
}, 180_000);
