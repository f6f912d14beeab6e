/**
 * What is left in storage of deleted streams, and of documents with the data of people who were forgotten: half of a store's streams
 * are deleted, half of its people forgotten, and the space given back. Both before and after, everything is rewritten and waited
 * for, so that what is compared is the same kind of thing. Payloads are chance, which no codec makes smaller, so they can be
 * looked for in the objects as they are: in pieces, for some bytes of one may happen to be those of another, and are stored once.
 */

import * as v from "valibot";
import {
  defineEvents,
  defineProjection,
  type EventDefinition,
  type EventDefinitions,
  type EventStore,
  event,
  openEventStore,
  type Projection,
  type ReclaimReport,
} from "../../src/index.ts";
import { parseStoreUrl } from "../../src/kv/object-store.ts";
import { openObjects } from "../../src/kv/objects.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";

export interface ReclaimSettings {
  readonly streams: number;
  /** Each has an event with an encrypted payload, and a document that has it in clear. */
  readonly people: number;
  readonly payloadBytes: number;
  /** Of streams, and of documents, that are kept and that go: how many payloads of each are looked for. */
  readonly samples: number;
  /** Whether the engine's quarter of an hour is waited for; without it nothing is gone, and only the way there is run. */
  readonly waits: boolean;
}

type Context = ScenarioContext<ReclaimSettings>;

const atOnce = 64;
const pieces = 4;
const pieceBytes = 64;

const encryption = { masterKey: new Uint8Array(32).fill(7) };
const isGone = (index: number): boolean => index % 2 === 1;

const storedSchema: v.GenericSchema<{ readonly payload: Uint8Array }> = v.object({ payload: v.instance(Uint8Array) });
const thing: EventDefinitions<"thing", { readonly Stored: EventDefinition<typeof storedSchema> }> = defineEvents(
  "thing",
  { Stored: event({ schema: storedSchema }) },
);

const registeredSchema: v.GenericSchema<{ readonly id: string; readonly secret: Uint8Array }> = v.object({
  id: v.string(),
  secret: v.instance(Uint8Array),
});
const person: EventDefinitions<"person", { readonly Registered: EventDefinition<typeof registeredSchema, "secret"> }> =
  defineEvents("person", {
    Registered: event({
      schema: registeredSchema,
      personal: { subject: ({ id }) => `person:${id}`, fields: ["secret"] },
    }),
  });

interface Card {
  readonly secret: Uint8Array | null;
}

const cardSchema: v.GenericSchema<Card> = v.object({ secret: v.nullable(v.instance(Uint8Array)) });

/** A document of each person, kept in clear and deleted when its person is forgotten. */
const cards: Projection<Card, never> = defineProjection("cards", {
  version: 1,
  mode: "inline",
  events: [person],
  document: cardSchema,
  on: { Registered: ({ data }, docs) => docs.set(data.id, { secret: data.secret }) },
  personal: { keys: (subject) => [subject.slice("person:".length)] },
});

type Store = EventStore<typeof thing | typeof person>;

async function forEachOf(count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** Compacts, and has the storage give back what it can. */
async function giveBack(
  { settings, progress }: Context,
  store: Store,
  what: string,
): Promise<ReclaimReport | undefined> {
  const enough = new AbortController();
  let phase = "";
  try {
    const { reclaimed } = await store.compact({
      reclaim: true,
      signal: enough.signal,
      onProgress: (at) => {
        if (at.phase !== phase) progress(`${what}: ${at.phase}, ${at.objectsLeft} objects`);
        phase = at.phase;
        if (!settings.waits && phase === "waiting") enough.abort();
      },
    });
    return reclaimed;
  } catch (error) {
    if (!enough.signal.aborted) throw error;
    return undefined;
  }
}

/** Some pieces of a payload, any of which gives it away. */
function piecesOf(payload: Uint8Array): readonly Uint8Array[] {
  return Array.from({ length: pieces }, (_, piece) => {
    const start = Math.floor((piece * payload.length) / pieces);
    return payload.subarray(start, start + pieceBytes);
  });
}

/** How many of the payloads are somewhere in the objects below the store. */
async function found(url: string, payloads: readonly Uint8Array[]): Promise<number> {
  await using objects = await openObjects(parseStoreUrl(url), {});
  const left = new Map(payloads.map((payload) => [payload, piecesOf(payload)]));
  for await (const { name } of objects.list("db/")) {
    const object = await objects.get(name);
    if (object === undefined) continue;
    const bytes = Buffer.from(object.bytes);
    for (const [payload, some] of left) if (some.some((piece) => bytes.includes(piece))) left.delete(payload);
  }
  return payloads.length - left.size;
}

/** What half of the streams, or of the people, have stored, and what the others have. */
class Payloads {
  readonly kept: Uint8Array[] = [];
  readonly gone: Uint8Array[] = [];
  readonly #settings: ReclaimSettings;

  constructor(settings: ReclaimSettings) {
    this.#settings = settings;
  }

  /** A new one, noted to be looked for where there are not enough of its kind. */
  next(index: number): Uint8Array {
    const payload = crypto.getRandomValues(new Uint8Array(this.#settings.payloadBytes));
    const samples = isGone(index) ? this.gone : this.kept;
    if (samples.length < this.#settings.samples) samples.push(payload);
    return payload;
  }

  async found(url: string): Promise<{ readonly kept: number; readonly gone: number }> {
    return { kept: await found(url, this.kept), gone: await found(url, this.gone) };
  }
}

function rowOf(phase: string, n: number, report: ReclaimReport): Row {
  const { bytesBefore, objectsBefore, bytesAfter, objectsAfter, objectsLeft, elapsedMs } = report;
  const extra = { bytesBefore, objectsBefore, bytesAfter, objectsAfter, objectsLeft, minutes: elapsedMs / 60_000 };
  return { parameters: { phase }, n, extra };
}

async function run(context: Context): Promise<readonly Row[]> {
  const { streams, people, samples, waits } = context.settings;
  const url = context.freshUrl("reclaim");
  if (url === "memory:") return [{ parameters: { phase: "not in memory" }, n: 0 }];
  const [stored, documents] = [new Payloads(context.settings), new Payloads(context.settings)];
  const rows: Row[] = [];
  const options = { url, events: [thing, person], projections: [cards], encryption, deletionGraceMs: 0 } as const;
  await using store = await openEventStore(options);
  await forEachOf(streams, async (index) => {
    const events = [{ type: "Stored", data: { payload: stored.next(index) } }] as const;
    await store.append(`thing-${index}`, events, { expectedVersion: "no-stream" });
  });
  await forEachOf(people, async (index) => {
    const events = [{ type: "Registered", data: { id: `${index}`, secret: documents.next(index) } }] as const;
    await store.append(`person-${index}`, events, { expectedVersion: "no-stream" });
  });
  const whole = await giveBack(context, store, "all of it");
  if (whole !== undefined) rows.push(rowOf("all of it", streams + people, whole));
  for (const payloads of [stored, documents]) {
    const { kept, gone } = await payloads.found(url);
    checkEqual(kept, payloads.kept.length, "payloads to be kept that are found while nothing is deleted");
    checkEqual(gone, payloads.gone.length, "payloads to go that are found while nothing is deleted");
  }
  await forEachOf(streams, async (index) => {
    if (isGone(index)) await store.deleteStream(`thing-${index}`, { expectedVersion: 1 });
  });
  for (let index = 0; index < people; index += 1) if (isGone(index)) await store.forget(`person:${index}`);
  const half = await giveBack(context, store, "half of it deleted or forgotten");
  if (half !== undefined) rows.push(rowOf("half of it deleted or forgotten", streams + people, half));
  const left = { streams: await stored.found(url), documents: await documents.found(url) };
  rows.push({
    parameters: { phase: "payloads found" },
    n: samples,
    extra: {
      "of kept streams": left.streams.kept,
      "of deleted streams": left.streams.gone,
      "in kept documents": left.documents.kept,
      "in forgotten documents": left.documents.gone,
    },
  });
  checkEqual(left.streams.kept, stored.kept.length, "payloads of kept streams that are found");
  checkEqual(left.documents.kept, documents.kept.length, "payloads of kept documents that are found");
  if (!waits || whole === undefined || half === undefined) return rows;
  checkEqual(left.streams.gone, 0, "payloads of deleted streams that are found");
  checkEqual(left.documents.gone, 0, "payloads of forgotten documents that are found");
  const shrunk = 1 - half.bytesAfter / whole.bytesAfter;
  rows.push({ parameters: { phase: "shrunk by" }, n: streams + people, extra: { share: shrunk } });
  check(shrunk >= 0.4, `the objects shrank by ${shrunk}`);
  const verified = await store.verify();
  check(verified.breaks.length === 0, "the chain does not hold");
  return rows;
}

export const reclaim: Scenario<ReclaimSettings> = {
  name: "reclaim",
  question: "What is left in storage of streams that were deleted, and of people who were forgotten?",
  sizes: {
    smoke: { streams: 40, people: 12, payloadBytes: 1_024, samples: 10, waits: false },
    quick: { streams: 2_000, people: 200, payloadBytes: 1_024, samples: 100, waits: false },
    full: { streams: 20_000, people: 1_000, payloadBytes: 1_024, samples: 200, waits: true },
  },
  run,
};
