/**
 * A store over a long life: a process appends, reads, follows, keeps snapshots and compacts, and is killed in the middle of
 * compaction again and again, while a replica follows from here. Afterwards every event must be what a trivial model says.
 */

import { join } from "node:path";
import { type CompactionReport, openEventStore, openEventStoreReader } from "../../src/index.ts";
import { spawnBun } from "../harness/child-process.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import {
  busyStreams,
  isAsModelled,
  isNote,
  keptNotes,
  keptOf,
  LogCheck,
  ledger,
  ledgers,
  notes,
  streamNameOf,
  streamOf,
  tally,
} from "./long-life-model.ts";
import type { LongLifeTask } from "./long-life-process.ts";

export interface LongLifeSettings {
  readonly events: number;
  readonly streams: number;
  readonly kills: number;
  readonly workers: number;
  readonly everyEvents: number;
}

interface Life {
  readonly acknowledged: number;
  readonly killedAtWork: boolean;
  readonly merged: number;
  readonly snapshots: number;
}

const child = join(import.meta.dir, "long-life-process.ts");

/** One life: until it is acknowledged up to a position and at work on compaction, or has nothing left to do. */
async function live(task: LongLifeTask, killFrom: number): Promise<Life> {
  const running = spawnBun(child, [JSON.stringify(task)]);
  let acknowledged = 0;
  let merged = 0;
  let snapshots = 0;
  let killedAtWork = false;
  let ended = false;
  let rest = "";
  for await (const chunk of running.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const said = JSON.parse(line);
      acknowledged = Math.max(acknowledged, said.acknowledged ?? 0);
      merged = Math.max(merged, said.merged ?? 0);
      snapshots = Math.max(snapshots, said.snapshots ?? 0);
      const inTheMiddle = said.atWork === true && acknowledged >= killFrom;
      if (ended || !(inTheMiddle || said.finished === true)) continue;
      ended = true;
      killedAtWork = inTheMiddle;
      running.kill("SIGKILL");
    }
  }
  await running.exited;
  check(ended, `the writer ended by itself at position ${acknowledged}`);
  return { acknowledged, killedAtWork, merged, snapshots };
}

/** Follows the log by a replica from its first event on, through all lives of the writer. */
function startFollower(url: string, signal: AbortSignal): { readonly seen: LogCheck; readonly end: Promise<void> } {
  const seen = new LogCheck(0);
  const follow = async (): Promise<void> => {
    await using reader = await openEventStoreReader({ url, events: [ledger, notes], pollIntervalMs: 200 });
    for await (const item of reader.subscribe({ from: "start", signal, gaps: "report" })) seen.take(item);
  };
  return { seen, end: follow() };
}

type LifeStore = Awaited<ReturnType<typeof openLife>>;

async function openLife(url: string) {
  const processing = { deciders: [ledgers], projections: [tally] };
  return await openEventStore({ url, events: [ledger, notes], ...processing, compaction: false });
}

/** What the log holds, event for event: how many of each stream have been, and how many of each are there. */
async function compareLog(store: LifeStore, round: string): Promise<Map<string, number>> {
  const last = await store.lastPosition();
  const log = new LogCheck(0);
  const versions = new Map<string, number>();
  const found = new Map<string, number>();
  for await (const item of store.readAll({ gaps: "report" })) {
    log.take(item);
    if ("gap" in item || item.streamName.startsWith("$")) continue;
    const { streamName, version } = item;
    const before = versions.get(streamName) ?? 0;
    const next = isNote(streamOf(streamName)) ? version > before : version === before + 1;
    check(next, `after version ${before} of ${streamName} came ${version} in the log ${round}`);
    versions.set(streamName, version);
    found.set(streamName, (found.get(streamName) ?? 0) + 1);
  }
  checkEqual(log.position, last, `the end of the log ${round}`);
  if (round === "compacted")
    for (const [streamName, version] of versions)
      checkEqual(
        found.get(streamName) ?? 0,
        keptOf(streamOf(streamName), version),
        `events of ${streamName} in the log`,
      );
  return versions;
}

async function compareStreams(store: LifeStore, versions: ReadonlyMap<string, number>, round: string): Promise<void> {
  for (const [streamName, version] of versions) {
    const stream = streamOf(streamName);
    const kept = keptOf(stream, version);
    let reached = version - kept;
    for await (const event of store.readStream(streamNameOf(stream))) {
      reached += 1;
      check(event.version === reached && isAsModelled(event), `${streamName} is wrong at ${reached}, ${round}`);
    }
    checkEqual(reached, version, `events of ${streamName} ${round}`);
  }
}

interface Held {
  readonly events: number;
  readonly seconds: number;
  /** What the last pass came to. */
  readonly report: CompactionReport;
}

/** Compares everything with the model: the log, each stream, states and documents; as it was left, and compacted. */
async function compare({ settings, progress }: ScenarioContext<LongLifeSettings>, url: string): Promise<Held> {
  await using store = await openLife(url);
  const last = await store.lastPosition();
  let seconds = 0;
  let versions = new Map<string, number>();
  const reports: CompactionReport[] = [];
  for (const round of ["as it was left", "compacted"]) {
    if (round === "compacted") reports.push(await store.compact());
    progress(`comparing with the model, ${round}`);
    const startedMs = performance.now();
    versions = await compareLog(store, round);
    seconds = (performance.now() - startedMs) / 1_000;
    const { holds, breaks } = await store.verify();
    check(holds, `the hash chain does not hold ${round}: ${JSON.stringify(breaks[0])}`);
    await compareStreams(store, versions, round);
  }
  for (let stream = 0; stream < Math.min(busyStreams, settings.streams); stream += 1) {
    if (isNote(stream)) continue;
    const { state } = await store.load(ledgers, String(stream));
    checkEqual(state.count, versions.get(streamNameOf(stream)) ?? 0, `events in the state of stream ${stream}`);
  }
  await store.waitFor("tally", last, { timeoutMs: 600_000 });
  let counted = 0;
  for await (const [, document] of store.documents(tally).list()) counted += document.events;
  const ofLedgers = [...versions].filter(([streamName]) => !isNote(streamOf(streamName)));
  const expected = ofLedgers.reduce((sum, [, version]) => sum + version, 0);
  checkEqual(counted, expected, "events that the projection has counted");
  const [report] = reports;
  if (report === undefined) throw new Error("It was not compacted");
  return { events: last, seconds, report };
}

async function run(context: ScenarioContext<LongLifeSettings>): Promise<readonly Row[]> {
  const { settings, progress } = context;
  const url = context.freshUrl("life");
  if (url === "memory:") return [{ parameters: { place: "memory" }, n: 0 }];
  {
    await using store = await openLife(url);
    await store.setRetention("note", { maxCount: keptNotes });
  }
  const stop = new AbortController();
  const follower = startFollower(url, stop.signal);
  const startedMs = performance.now();
  const { events, streams, kills, workers, everyEvents } = settings;
  const totals = { kills: 0, merged: 0, snapshots: 0 };
  let acknowledged = 0;
  for (let round = 1; acknowledged < events; round += 1) {
    const task = { url, streams, workers, everyEvents, seed: round, lastPosition: events };
    const last = totals.kills >= kills;
    const life = await live(task, last ? Number.POSITIVE_INFINITY : Math.floor((events * round) / (kills + 1)));
    acknowledged = Math.max(acknowledged, life.acknowledged);
    totals.kills += life.killedAtWork ? 1 : 0;
    totals.merged += life.merged;
    totals.snapshots += life.snapshots;
    progress(
      `life ${round} ended at ${acknowledged}, ${life.killedAtWork ? "compacting" : "finished"}; the replica is at ${follower.seen.position}`,
    );
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  const held = await compare(context, url);
  const { report } = held;
  check(held.events >= acknowledged, `${held.events} events are there of ${acknowledged} that were acknowledged`);
  while (follower.seen.position < held.events) await Bun.sleep(50);
  stop.abort();
  await follower.end;
  check(totals.kills >= Math.min(kills, 1) && totals.merged > 0, "it was never killed in the middle of compaction");
  return [
    {
      parameters: { streams, kills: totals.kills },
      n: held.events,
      perSecond: held.events / seconds,
      rssMaxMb: context.memory.maxSinceSettledMb(),
      extra: {
        "pages merged": totals.merged,
        snapshots: totals.snapshots + report.snapshotsWritten,
        "merged by the last pass": report.logPagesMerged + report.streamPagesMerged,
        "gaps that the replica saw": follower.seen.dropped,
        "dropped by the last pass": report.eventsDropped,
        "events a second replayed": Math.round(held.events / held.seconds),
      },
    },
  ];
}

export const longLife: Scenario<LongLifeSettings> = {
  name: "long-life",
  question:
    "Does a store hold every event once through appends, reads, subscriptions, snapshots, retention and compaction, its writer killed while it compacts?",
  sizes: {
    smoke: { events: 6_000, streams: 60, kills: 1, workers: 8, everyEvents: 64 },
    quick: { events: 100_000, streams: 2_000, kills: 5, workers: 32, everyEvents: 1_000 },
    full: { events: 1_000_000, streams: 20_000, kills: 20, workers: 64, everyEvents: 4_096 },
  },
  run,
};
