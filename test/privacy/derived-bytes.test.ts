/**
 * The bytes prove it of what is made of personal data, too, and kept in clear: documents, their secondary keys, snapshots. Before a
 * subject is forgotten its text is found in all of them and read everywhere; afterwards it is in no row, in no table that the
 * engine makes anew, and in nothing that anybody reads or copies. Tables that a merge has replaced stay for a quarter of an
 * hour, which nobody waits for here: the bench `reclaim` does.
 */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import {
  backupStore,
  type Decider,
  defineDecider,
  defineProjection,
  type EventStoreReader,
  openEventStore,
  openEventStoreReader,
  type Projection,
} from "../../src/index.ts";
import type { ProjectionMode } from "../../src/processors/define-projection.ts";
import { strata } from "../cli/support.ts";
import { kinds, type Place, stopServer } from "../replica/places.ts";
import { collect } from "../support/collect.ts";
import { encryption, masterKey, type PeopleStore, people } from "../support/people.ts";
import { everyObject, everyRow, namesOfThoseWith, type StoredBytes, spellingsOf } from "../support/stored-bytes.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

const goneId = "abel";
const keptId = "zoe";
const nameOf = (id: string): string => `Kim Xylophon-${id}`;
const streetOf = (id: string): string => `Zitronengasse ${id}`;
const textsOf = (id: string): readonly string[] => [nameOf(id), streetOf(id)];

interface Card {
  readonly name: string | null;
  readonly street: string | null;
  readonly renamed: number;
}

const card = v.object({ name: v.nullable(v.string()), street: v.nullable(v.string()), renamed: v.number() });

function cards(mode: ProjectionMode, erases: boolean): Projection<Card, "name"> {
  return defineProjection(`${mode}-${erases ? "blanked" : "deleted"}`, {
    version: 1,
    mode,
    events: [people],
    document: card,
    indexes: { name: ({ name }) => name ?? undefined },
    on: {
      Registered: ({ data }, docs) => {
        docs.set(data.id, { name: data.name, street: data.address?.street ?? null, renamed: 0 });
      },
      Renamed: ({ data }, docs) => {
        docs.update(data.id, (known) => known && { ...known, name: data.name, renamed: known.renamed + 1 });
      },
    },
    personal: {
      keys: (subject) => [subject.slice("person:".length)],
      ...(erases ? { erase: (document) => ({ ...document, name: null, street: null }) } : {}),
    },
  });
}

const projections: readonly Projection<Card, "name">[] = [
  cards("inline", true),
  cards("inline", false),
  cards("async", true),
  cards("async", false),
];

const decider: Decider<Card, typeof people, Record<never, never>> = defineDecider("person", {
  events: people,
  commands: {},
  initialState: (): Card => ({ name: null, street: null, renamed: 0 }),
  evolve: {
    Registered: (_, { data }) => ({ name: data.name, street: data.address?.street ?? null, renamed: 0 }),
    Renamed: (state, { data }) => ({ ...state, name: data.name, renamed: state.renamed + 1 }),
    PlanChanged: (state) => state,
  },
  decide: {},
  snapshots: { version: 1, everyEvents: 2 },
});

async function fill(store: PeopleStore): Promise<number> {
  for (const id of [goneId, keptId, ...Array.from({ length: 30 }, (_, index) => `other-${index}`)]) {
    const address = { street: streetOf(id), city: "Berlin" };
    const data = { id, name: `${nameOf(id)} born`, address, notes: { of: nameOf(id) }, plan: "basic" };
    await store.append(`person-${id}`, [{ type: "Registered", data }], { expectedVersion: "no-stream" });
    await store.append(`person-${id}`, [{ type: "Renamed", data: { id, name: nameOf(id) } }], { expectedVersion: 1 });
  }
  for (const id of [goneId, keptId]) await store.snapshot(decider, id);
  // A second generation of some: what is left of the first, which is removed in the background, must go as well.
  for (const name of ["inline-blanked", "async-deleted"]) await store.rebuild(name);
  return await store.lastPosition();
}

type Reads = Pick<
  EventStoreReader<typeof people>,
  "readStream" | "readAll" | "load" | "documents" | "history" | "diff" | "blame" | "asOf"
>;

/** What each of the public reads says, as one text each. */
async function everyRead(store: Reads, atLeast: number): Promise<ReadonlyMap<string, string>> {
  const ids = [goneId, keptId];
  const read = new Map<string, unknown>();
  for (const projection of projections) {
    const documents = store.documents(projection);
    const past = store.asOf(atLeast).documents(projection);
    const { name } = projection;
    read.set(`get ${name}`, await Promise.all(ids.map((id) => documents.get(id, { atLeast }))));
    read.set(`getMany ${name}`, await documents.getMany(ids));
    read.set(`list ${name}`, await collect(documents.list()));
    read.set(`find ${name}`, await Promise.all(ids.map((id) => collect(documents.find("name", nameOf(id))))));
    read.set(`get ${name} as of a moment`, await past.getMany(ids));
    read.set(`find ${name} as of a moment`, await Promise.all(ids.map((id) => collect(past.find("name", nameOf(id))))));
  }
  read.set("readAll", await collect(store.readAll()));
  read.set("readAll backwards", await collect(store.readAll({ direction: "backwards" })));
  read.set("readAll as of a moment", await collect(store.asOf(atLeast).readAll()));
  const each: Readonly<Record<string, (id: string) => unknown>> = {
    load: (id) => store.load(decider, id),
    "load as of a moment": (id) => store.asOf(atLeast).load(decider, id),
    readStream: (id) => collect(store.readStream(`person-${id}`)),
    history: (id) => collect(store.history(`person-${id}`)),
    "history of states": (id) => collect(store.history(`person-${id}`, { decider })),
    diff: (id) => store.diff(`person-${id}`),
    "diff of states": (id) => store.diff(`person-${id}`, { decider }),
    blame: (id) => store.blame(`person-${id}`),
    "blame of states": (id) => store.blame(`person-${id}`, { decider }),
  };
  for (const [name, one] of Object.entries(each)) read.set(name, await Promise.all(ids.map(one)));
  return new Map([...read].map(([name, value]) => [name, JSON.stringify(value)]));
}

/** The names of the reads in which a text of this person is found. */
function readsWith(reads: ReadonlyMap<string, string>, id: string): readonly string[] {
  return [...reads].filter(([, text]) => textsOf(id).some((one) => text.includes(one))).map(([name]) => name);
}

const rowsInClear = [
  ...projections.flatMap(({ name }) => [`documents ${name}`, `documentKeys ${name}`]),
  ...[goneId, keptId].map((id) => `snapshots person-${id}`),
];
/** Whether a row may be about this person: the snapshots of others are not. */
const mayHold = (id: string) => (name: string) => !name.startsWith("snapshots") || name.endsWith(id);

/** Whose rows this person is found in, in any spelling. */
async function rowsWith(place: Place, id: string): Promise<readonly string[]> {
  return [...new Set(namesOfThoseWith(await everyRow(place), textsOf(id).flatMap(spellingsOf)))].toSorted();
}

async function tablesOf(place: Place) {
  return (await everyObject(place)).filter(({ name }) => name.includes("db/compacted/"));
}

/** Merges all that the engine has into one run; what that replaces is not waited for. */
async function mergeEverything(store: PeopleStore): Promise<void> {
  const merged = new AbortController();
  const compacting = store.compact({
    reclaim: true,
    signal: merged.signal,
    onProgress: ({ phase }) => {
      if (phase === "waiting") merged.abort(new Error("Everything is merged"));
    },
  });
  await expect(compacting).rejects.toThrow("Everything is merged");
}

async function exported({ url, s3 }: Place): Promise<string> {
  const { endpoint, region, accessKeyId, secretAccessKey } = s3;
  const words = ["export", "--url", url];
  if (endpoint !== undefined && region !== undefined) words.push("--endpoint", endpoint, "--region", region);
  const environment = {
    STRATA_MASTER_KEY: masterKey,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
  const { exitCode, stdout, stderr } = await strata(words, { environment });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  return stdout;
}

const known = { events: [people], encryption, projections };

function openAt({ url, s3 }: Place): Promise<PeopleStore> {
  return openEventStore({ ...known, url, s3, deciders: [decider], compaction: false });
}

/** What can be found is found: in each public read, in clear in each of these rows and in no others, in tables, in an export. */
async function expectBothFound(place: Place): Promise<void> {
  {
    await using store = await openAt(place);
    const position = await fill(store);
    const reads = await everyRead(store, position);
    for (const id of [goneId, keptId]) expect(readsWith(reads, id)).toEqual([...reads.keys()]);
  }
  for (const id of [goneId, keptId])
    expect(await rowsWith(place, id)).toEqual(rowsInClear.filter(mayHold(id)).toSorted());
  const tables = await tablesOf(place);
  for (const text of textsOf(goneId)) expect(namesOfThoseWith(tables, text).length).toBeGreaterThan(0);
  expect(await exported(place)).toContain(nameOf(goneId));
}

async function expectReadNoMore(store: Reads, atLeast: number): Promise<void> {
  const reads = await everyRead(store, atLeast);
  expect(readsWith(reads, goneId)).toEqual([]);
  expect(readsWith(reads, keptId)).toEqual([...reads.keys()]);
}

/** Neither plain nor spelled otherwise, whereas the other one is there. */
function expectGoneFrom(objects: readonly StoredBytes[]): void {
  expect(namesOfThoseWith(objects, nameOf(keptId)).length).toBeGreaterThan(0);
  expect(namesOfThoseWith(objects, textsOf(goneId).flatMap(spellingsOf))).toEqual([]);
}

describe("What is made of personal data", () => {
  for (const { name, available, create } of kinds) {
    test.skipIf(!available)(
      `is in no row, new table, read or copy once its subject is forgotten, ${name}`,
      async () => {
        await using place = await create();
        await expectBothFound(place);
        const { url, s3 } = place;
        await using replica = await openEventStoreReader({ ...known, url, s3, pollIntervalMs: 50 });
        {
          await using store = await openAt(place);
          const before = await everyRead(replica, await store.lastPosition());
          expect(readsWith(before, goneId)).toEqual([...before.keys()]);
          const receipt = await store.forget(`person:${goneId}`);
          expect(receipt).toMatchObject({ events: 2, streams: 1, snapshots: 1, documents: 4, unreached: [] });
          await expectReadNoMore(store, receipt.position);
          await replica.waitForPosition(receipt.position);
          await expectReadNoMore(replica, receipt.position);
        }
        // Deletions name the secondary keys that go, in a table that was made by closing, until they are merged with them.
        const replaced = (await tablesOf(place)).map((table) => table.name);
        {
          await using store = await openAt(place);
          await mergeEverything(store);
        }
        expectGoneFrom((await tablesOf(place)).filter((table) => !replaced.includes(table.name)));
        expect(await rowsWith(place, goneId)).toEqual([]);
        expect(await rowsWith(place, keptId)).toEqual(rowsInClear.filter(mayHold(keptId)).toSorted());

        await using backup = await create();
        await backupStore({ from: url, fromS3: s3, to: backup.url, toS3: s3 });
        expectGoneFrom(await everyObject(backup));
        await using copy = await openEventStoreReader({ ...known, url: backup.url, s3 });
        await expectReadNoMore(copy, await copy.lastPosition());
        const lines = await exported(place);
        expect(textsOf(goneId).filter((text) => lines.includes(text))).toEqual([]);
        expect(lines).toContain(nameOf(keptId));
      },
      180_000,
    );
  }
});
