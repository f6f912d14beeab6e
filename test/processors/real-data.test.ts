/** The real 262,200 events of 13,087 loan applications: their published facts come out of documents, rebuilt while more arrive. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import * as v from "valibot";
import { defineProjection, type EventStore, openEventStore } from "../../src/index.ts";
import { environment, mainScript, Workplace } from "../cli/support.ts";

setDefaultTimeout(60_000);

const file: string = process.env.STRATA_TEST_DATA ?? "";

const applications = defineProjection("applications", {
  version: 1,
  mode: "async",
  document: v.object({ events: v.number(), outcome: v.nullable(v.string()) }),
  indexes: { byOutcome: ({ outcome }) => outcome ?? "none" },
  on: {
    A_APPROVED: (e, docs) => docs.update(e.streamName, (d) => ({ events: (d?.events ?? 0) + 1, outcome: "approved" })),
    A_DECLINED: (e, docs) => docs.update(e.streamName, (d) => ({ events: (d?.events ?? 0) + 1, outcome: "declined" })),
    A_CANCELLED: (e, docs) =>
      docs.update(e.streamName, (d) => ({ events: (d?.events ?? 0) + 1, outcome: "cancelled" })),
  },
  onAny: (e, docs) => docs.update(e.streamName, (d) => ({ events: (d?.events ?? 0) + 1, outcome: d?.outcome ?? null })),
});

const types = defineProjection("types", {
  version: 1,
  mode: "inline",
  document: v.number(),
  on: {},
  onAny: (e, docs) => docs.update(e.type, (count) => (count ?? 0) + 1),
});

/** Of what was imported; events that arrived since have other streams. */
async function factsOf(store: EventStore): Promise<object> {
  const documents = store.documents(applications);
  const atLeast = await store.lastPosition();
  let events = 0;
  let longest = 0;
  let streams = 0;
  for await (const [, document] of documents.list({ prefix: "loan-", atLeast, timeoutMs: 120_000 })) {
    streams += 1;
    events += document.events;
    longest = Math.max(longest, document.events);
  }
  const outcomes: Record<string, number> = {};
  for (const outcome of ["approved", "declined", "cancelled"]) {
    let count = 0;
    for await (const _ of documents.find("byOutcome", outcome)) count += 1;
    outcomes[outcome] = count;
  }
  const submitted = await store.documents(types).get("A_SUBMITTED", { timeoutMs: 120_000 });
  return { events, streams, longest, submitted, ...outcomes };
}

/** Builds a read model anew, and appends all the while; answers how many events there were. */
async function rebuildBeside(store: EventStore, name: string): Promise<number> {
  const rebuilding = store.rebuild(name).then(() => true);
  let arrived = 0;
  do {
    arrived += 1;
    await store.append(`late-${name}.${arrived}`, [{ type: "Arrived", data: {} }], { expectedVersion: "no-stream" });
  } while (!(await Promise.race([rebuilding, Bun.sleep(1).then(() => false)])));
  return arrived;
}

describe.skipIf(!existsSync(file))("The real loan applications in documents (needs the file of real events)", () => {
  test("have their published facts, also those that were rebuilt while more events arrived", async () => {
    await using place = await Workplace.make();
    const child = Bun.spawn([process.execPath, mainScript, "import", file, "--url", place.url], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
      env: environment(),
    });
    expect(await child.exited).toBe(0);
    await using store = await openEventStore({ url: place.url, projections: [applications, types] });
    const published = {
      events: 262_200,
      streams: 13_087,
      longest: 175,
      submitted: 13_087,
      approved: 2_246,
      declined: 7_635,
      cancelled: 2_807,
    };
    expect(await factsOf(store)).toEqual(published);
    let arrived = 0;
    for (const { name } of [applications, types]) arrived += await rebuildBeside(store, name);
    expect(await factsOf(store)).toEqual(published);
    expect(arrived).toBeGreaterThan(2);
    let late = 0;
    for await (const [, { events }] of store.documents(applications).list({ prefix: "late-" })) late += events;
    expect([late, await store.documents(types).get("Arrived")]).toEqual([arrived, arrived]);
  }, 480_000);
});
