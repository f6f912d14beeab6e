/**
 * One life of the writer in the long life: appends, reads, follows, folds and compacts until it is killed. It says on standard
 * output how far it was acknowledged and when the compactor is at work, and ends with a message where anything is not as modelled.
 */

import { type EventStore, openEventStore } from "../../src/index.ts";
import { seededRandom } from "../harness/random.ts";
import {
  busyStreams,
  dataOf,
  isAsModelled,
  isNote,
  keptOf,
  type LifeEvents,
  LogCheck,
  ledger,
  ledgers,
  notes,
  streamNameOf,
  streamOf,
  tally,
} from "./long-life-model.ts";

/** What the process is told. */
export interface LongLifeTask {
  readonly url: string;
  readonly streams: number;
  readonly workers: number;
  readonly everyEvents: number;
  readonly seed: number;
  /** Where it stops appending, and waits for its end. */
  readonly lastPosition: number;
}

const task = JSON.parse(process.argv[2] ?? "{}") as LongLifeTask;
const random = seededRandom(task.seed);
const versions = new Map<number, number>();

function fail(what: string): never {
  process.stderr.write(`long-life: ${what}\n`);
  process.exit(1);
}

function say(what: object): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

/** A third of all goes to a few streams. */
function pickStream(worker: number): number {
  const count = random.below(3) === 0 ? Math.min(busyStreams, task.streams) : task.streams;
  const own = Math.ceil((count - worker) / task.workers);
  return own <= 0 ? worker % task.streams : worker + task.workers * random.below(own);
}

type Life = EventStore<LifeEvents>;

/** Each worker has streams of its own, so that it knows where they stand. */
async function append(store: Life, worker: number): Promise<void> {
  for (let done = 1; (await store.lastPosition()) < task.lastPosition; done += 1) {
    const stream = pickStream(worker);
    const before = versions.get(stream) ?? 0;
    const events = Array.from({ length: 1 + random.below(4) }, (_, index) => ({
      type: "Entered" as const,
      data: dataOf(stream, before + 1 + index),
    }));
    const result = await store.append(streamNameOf(stream), events, { expectedVersion: before });
    versions.set(stream, result.streamVersion);
    if (done % 20 === 0) say({ acknowledged: result.position });
  }
}

async function read(store: Life): Promise<void> {
  for (;;) {
    // What is answered from memory would leave nobody else a turn.
    await new Promise((resolve) => setImmediate(resolve));
    const stream = random.below(task.streams);
    let version = 0;
    let found = 0;
    for await (const event of store.readStream(streamNameOf(stream))) {
      version = found === 0 ? event.version : version + 1;
      found += 1;
      if (event.version !== version || !isAsModelled(event)) fail(`stream ${stream} is wrong at ${event.version}`);
    }
    if (found !== keptOf(stream, version)) fail(`stream ${stream} has ${found} events of ${version}`);
    const busy = random.below(Math.min(busyStreams, task.streams));
    if (isNote(busy)) continue;
    const { state, version: reached } = await store.load(ledgers, String(busy));
    if (state.count !== reached || state.sum !== (reached * (reached + 1)) / 2) fail(`state of ${busy} at ${reached}`);
    const fromPosition = 1 + random.below(Math.max(1, await store.lastPosition()));
    const filter = { tags: [`tenth:${random.below(10)}`] };
    for await (const event of store.readAll({ fromPosition, filter, limit: 50 }))
      if (!isAsModelled(event)) fail(`position ${event.position} is wrong`);
  }
}

async function follow(store: Life): Promise<void> {
  const check = new LogCheck(await store.lastPosition());
  for await (const item of store.subscribe({ from: { after: check.position }, gaps: "report" })) check.take(item);
}

function watch(store: Life): void {
  let merged = 0;
  setInterval(() => {
    const compactor = store.processors().find(({ kind }) => kind === "compactor");
    const { logPagesMerged = 0, streamPagesMerged = 0, snapshotsWritten = 0 } = compactor?.counts ?? {};
    const now = logPagesMerged + streamPagesMerged + snapshotsWritten;
    // It has written since the last look, and is behind by more than a pass: it is in the middle of one.
    const atWork = now > merged && (compactor?.lagEvents ?? 0) > task.everyEvents;
    merged = now;
    say({ atWork, merged: logPagesMerged + streamPagesMerged, snapshots: snapshotsWritten });
  }, 20);
}

const store = await openEventStore({
  ...{ url: task.url, events: [ledger, notes], deciders: [ledgers], projections: [tally] },
  compaction: { everyEvents: task.everyEvents, share: 0.4 },
});
for await (const { streamName, version } of store.listStreams())
  if (!streamName.startsWith("$")) versions.set(streamOf(streamName), version);
say({ acknowledged: await store.lastPosition() });
watch(store);
const others = [read(store), read(store), follow(store)];
await Promise.all(Array.from({ length: task.workers }, (_, worker) => append(store, worker)));
say({ finished: true });
await Promise.all(others);
