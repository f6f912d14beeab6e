/**
 * What is left of deleted streams in storage: half of a store's streams are deleted, their events dropped, and the space given
 * back. Both before and after, everything is rewritten and waited for, so that what is compared is the same kind of thing. Payloads
 * are chance, which no codec makes smaller, so they can be looked for in the objects as they are.
 */

import { type EventStore, openEventStore, type ReclaimReport } from "../../src/index.ts";
import { parseStoreUrl } from "../../src/kv/object-store.ts";
import { openObjects } from "../../src/kv/objects.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";

export interface ReclaimSettings {
  readonly streams: number;
  readonly payloadBytes: number;
  /** Of the deleted and of the kept ones, how many payloads are looked for. */
  readonly samples: number;
  /** Whether the engine's quarter of an hour is waited for; without it nothing is gone, and only the way there is run. */
  readonly waits: boolean;
}

type Context = ScenarioContext<ReclaimSettings>;

const atOnce = 64;

async function forEachStream(streams: number, from: number, work: (stream: number) => Promise<unknown>): Promise<void> {
  let next = from;
  const worker = async (): Promise<void> => {
    for (let stream = next++; stream < streams; stream = next++) await work(stream);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** Compacts, and has the storage give back what it can. */
async function giveBack(
  { settings, progress }: Context,
  store: EventStore,
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

/** How many of the payloads are somewhere in the objects below the store. */
async function found(url: string, payloads: readonly Uint8Array[]): Promise<number> {
  await using objects = await openObjects(parseStoreUrl(url), {});
  const seen = new Set<Uint8Array>();
  for await (const { name } of objects.list("db/")) {
    const object = await objects.get(name);
    if (object === undefined) continue;
    const bytes = Buffer.from(object.bytes);
    for (const payload of payloads) if (bytes.includes(payload)) seen.add(payload);
  }
  return seen.size;
}

async function run(context: Context): Promise<readonly Row[]> {
  const { streams, payloadBytes, samples, waits } = context.settings;
  const url = context.freshUrl("reclaim");
  if (url === "memory:") return [{ parameters: { phase: "not in memory" }, n: 0 }];
  const kept: Uint8Array[] = [];
  const gone: Uint8Array[] = [];
  const isGone = (stream: number): boolean => stream % 2 === 1;
  const rows: Row[] = [];
  const store = await openEventStore({ url, deletionGraceMs: 0 });
  const note = (phase: string, report: ReclaimReport | undefined): void => {
    if (report === undefined) return;
    const { bytesBefore, objectsBefore, bytesAfter, objectsAfter, objectsLeft, elapsedMs } = report;
    const extra = { bytesBefore, objectsBefore, bytesAfter, objectsAfter, objectsLeft, minutes: elapsedMs / 60_000 };
    rows.push({ parameters: { phase }, n: streams, extra });
  };
  try {
    await forEachStream(streams, 0, async (stream) => {
      const payload = crypto.getRandomValues(new Uint8Array(payloadBytes));
      const sampled = isGone(stream) ? gone : kept;
      if (sampled.length < samples) sampled.push(payload);
      const events = [{ type: "Stored", data: { payload } }];
      await store.append(`kept-${stream}`, events, { expectedVersion: "no-stream" });
    });
    const whole = await giveBack(context, store, "all streams");
    note("all streams", whole);
    checkEqual(await found(url, kept), kept.length, "payloads that are found while nothing is deleted");
    await forEachStream(streams, 0, async (stream) => {
      if (isGone(stream)) await store.deleteStream(`kept-${stream}`, { expectedVersion: 1 });
    });
    const half = await giveBack(context, store, "half of them deleted");
    note("half of them deleted", half);
    const left = { kept: await found(url, kept), deleted: await found(url, gone) };
    rows.push({ parameters: { phase: "payloads found" }, n: samples, extra: left });
    checkEqual(left.kept, kept.length, "payloads of kept streams that are found");
    if (!waits || whole === undefined || half === undefined) return rows;
    checkEqual(left.deleted, 0, "payloads of deleted streams that are found");
    const shrunk = 1 - half.bytesAfter / whole.bytesAfter;
    rows.push({ parameters: { phase: "shrunk by" }, n: streams, extra: { share: shrunk } });
    check(shrunk >= 0.4, `the objects shrank by ${shrunk}`);
    const verified = await store.verify();
    check(verified.breaks.length === 0, "the chain does not hold");
    return rows;
  } finally {
    await store.close();
  }
}

export const reclaim: Scenario<ReclaimSettings> = {
  name: "reclaim",
  question: "What is left in storage of streams that were deleted?",
  sizes: {
    smoke: { streams: 40, payloadBytes: 1_024, samples: 10, waits: false },
    quick: { streams: 2_000, payloadBytes: 1_024, samples: 100, waits: false },
    full: { streams: 20_000, payloadBytes: 1_024, samples: 200, waits: true },
  },
  run,
};
