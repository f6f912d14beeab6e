/**
 * A store over a long life: a process appends, reads, follows, keeps snapshots and compacts, and is killed in the middle of
 * compaction again and again, while a replica follows from here. Afterwards every event must be what a trivial model says.
 */

import { join } from "node:path";
import { openEventStore, openEventStoreReader } from "../../src/index.ts";
import { spawnBun } from "../harness/child-process.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { busyStreams, isAsModelled, ledger, ledgers, streamNameOf, tally } from "./long-life-model.ts";
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
function startFollower(
  url: string,
  signal: AbortSignal,
): { readonly position: () => number; readonly end: Promise<void> } {
  let position = 0;
  const follow = async (): Promise<void> => {
    await using reader = await openEventStoreReader({ url, events: [ledger], pollIntervalMs: 200 });
    for await (const event of reader.subscribe({ from: "start", signal })) {
      checkEqual(event.position, position + 1, "the position that the replica's subscriber saw");
      check(isAsModelled(event), `the event that it saw at ${event.position} is not as modelled`);
      position = event.position;
    }
  };
  return { position: () => position, end: follow() };
}

interface Held {
  readonly events: number;
  readonly seconds: number;
}

/** Compares everything with the model: the log, each stream, states and documents. */
async function compare(
  { settings }: ScenarioContext<LongLifeSettings>,
  url: string,
  compacted: (report: object) => void,
): Promise<Held> {
  const projections = { events: [ledger], deciders: [ledgers], projections: [tally] };
  await using store = await openEventStore({ url, ...projections, compaction: false });
  const last = await store.lastPosition();
  let replaySeconds = 0;
  for (const round of ["as it was left", "compacted"]) {
    if (round === "compacted") compacted(await store.compact());
    const startedMs = performance.now();
    const versions = new Map<string, number>();
    let position = 0;
    for await (const event of store.readAll()) {
      position += 1;
      checkEqual(event.position, position, `a position of the log ${round}`);
      const version = (versions.get(event.streamName) ?? 0) + 1;
      checkEqual(event.version, version, `a version of ${event.streamName} in the log ${round}`);
      check(isAsModelled(event), `the event at ${position} is not as modelled, ${round}`);
      versions.set(event.streamName, version);
    }
    replaySeconds = (performance.now() - startedMs) / 1_000;
    checkEqual(position, last, `events in the log ${round}`);
    const { holds, breaks } = await store.verify();
    check(holds, `the hash chain does not hold ${round}: ${JSON.stringify(breaks[0])}`);
    for (const [streamName, version] of versions) {
      let reached = 0;
      for await (const event of store.readStream(streamName as `ledger-${number}`)) {
        reached += 1;
        check(event.version === reached && isAsModelled(event), `${streamName} is wrong at ${reached}, ${round}`);
      }
      checkEqual(reached, version, `events of ${streamName} ${round}`);
    }
  }
  for (let stream = 0; stream < Math.min(busyStreams, settings.streams); stream += 1) {
    const info = await store.streamInfo(streamNameOf(stream));
    const { state } = await store.load(ledgers, String(stream));
    checkEqual(state.count, info?.version ?? 0, `events in the state of stream ${stream}`);
  }
  await store.waitFor("tally", last, { timeoutMs: 600_000 });
  let counted = 0;
  for await (const [, document] of store.documents(tally).list()) counted += document.events;
  checkEqual(counted, last, "events that the projection has counted");
  return { events: last, seconds: replaySeconds };
}

async function run(context: ScenarioContext<LongLifeSettings>): Promise<readonly Row[]> {
  const { settings, progress } = context;
  const url = context.freshUrl("life");
  if (url === "memory:") return [{ parameters: { place: "memory" }, n: 0 }];
  {
    await using _ = await openEventStore({ url });
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
      `life ${round} ended at ${acknowledged}, ${life.killedAtWork ? "compacting" : "finished"}; the replica is at ${follower.position()}`,
    );
  }
  const seconds = (performance.now() - startedMs) / 1_000;
  let report: Readonly<Record<string, number>> = {};
  const held = await compare(context, url, (found) => {
    report = found as typeof report;
  });
  check(held.events >= acknowledged, `${held.events} events are there of ${acknowledged} that were acknowledged`);
  while (follower.position() < held.events) await Bun.sleep(50);
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
        snapshots: totals.snapshots + (report.snapshotsWritten ?? 0),
        "merged by the last pass": (report.logPagesMerged ?? 0) + (report.streamPagesMerged ?? 0),
        "events a second replayed": Math.round(held.events / held.seconds),
      },
    },
  ];
}

export const longLife: Scenario<LongLifeSettings> = {
  name: "long-life",
  question:
    "Does a store hold every event once through appends, reads, subscriptions, snapshots and compaction, its writer killed while it compacts?",
  sizes: {
    smoke: { events: 6_000, streams: 60, kills: 1, workers: 8, everyEvents: 64 },
    quick: { events: 100_000, streams: 2_000, kills: 5, workers: 32, everyEvents: 1_000 },
    full: { events: 1_000_000, streams: 20_000, kills: 20, workers: 64, everyEvents: 4_096 },
  },
  run,
};
