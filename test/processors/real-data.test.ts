/** The real 262,200 events of 13,087 loan applications: their published facts come out of documents, and of rebuilt ones. */

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

async function factsOf(store: EventStore): Promise<object> {
  const documents = store.documents(applications);
  const atLeast = await store.lastPosition();
  let events = 0;
  let longest = 0;
  let streams = 0;
  for await (const [, document] of documents.list({ atLeast, timeoutMs: 120_000 })) {
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

describe.skipIf(!existsSync(file))("The real loan applications in documents (needs the file of real events)", () => {
  test("have their published facts, rebuilt as well", async () => {
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
    await store.rebuild("applications");
    await store.rebuild("types");
    expect(await factsOf(store)).toEqual(published);
  }, 480_000);
});
