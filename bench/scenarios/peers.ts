/**
 * Strata beside other event stores in one run, on the same machine with the same event; those that are installed. PostgreSQL
 * syncs its log before it answers; a folder of Strata's is not synced, a bucket is: say so with the figures.
 */

import { postgresInstalled, startPostgres } from "../../test/support/postgres.ts";
import { closedLoop, type LoopSettings } from "../harness/closed-loop.ts";
import { sampleEvent } from "../harness/sample-events.ts";
import { checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { emmettInstalled, openEmmettTarget } from "../peers/emmett.ts";
import { openStrataPeer, type PeerTarget } from "../peers/peer-target.ts";

export interface PeersSettings extends LoopSettings {
  readonly appenders: readonly number[];
  readonly workers: readonly number[];
}

const streamEvents = 20;
const streamsAWorker = 10;

interface Peer {
  readonly name: string;
  open(part: string): Promise<PeerTarget>;
}

async function measureAppends(
  { settings, memory }: ScenarioContext<PeersSettings>,
  peer: Peer,
  appenders: number,
): Promise<Row> {
  await using target = await peer.open(`append-${appenders}`);
  await memory.settle();
  const report = await closedLoop(appenders, settings, (worker, sequence) =>
    target.appendNew(`order-${worker}-${sequence}`, sampleEvent(sequence)),
  );
  checkEqual(await target.count(), report.total, `events of ${peer.name} after ${appenders} appenders`);
  const { count: n, perSecond, latencyMs } = report;
  return { parameters: { peer: peer.name, work: "append", at_once: appenders }, n, perSecond, latencyMs };
}

/** Reads a stream of some 20 events and appends one at the version read; no two workers share a stream. */
async function measureLoop(
  { settings, memory }: ScenarioContext<PeersSettings>,
  peer: Peer,
  workers: number,
): Promise<Row> {
  await using target = await peer.open(`loop-${workers}`);
  const names = Array.from({ length: workers * streamsAWorker }, (_, number) => `order-${number}`);
  for (const [number, name] of names.entries()) {
    await target.appendNew(name, sampleEvent(number));
    for (let version = 1; version < streamEvents; version += 1)
      await target.appendAt(name, sampleEvent(number), version);
  }
  await memory.settle();
  const report = await closedLoop(workers, settings, async (worker, sequence) => {
    const name = names[worker * streamsAWorker + (sequence % streamsAWorker)] ?? "";
    await target.appendAt(name, sampleEvent(sequence), await target.readStream(name));
  });
  const expected = names.length * streamEvents + report.total;
  checkEqual(await target.count(), expected, `events of ${peer.name} after ${workers} workers`);
  const { count: n, perSecond, latencyMs } = report;
  return { parameters: { peer: peer.name, work: "read 20, append 1", at_once: workers }, n, perSecond, latencyMs };
}

async function run(context: ScenarioContext<PeersSettings>): Promise<readonly Row[]> {
  const { settings, progress } = context;
  await using server = emmettInstalled && postgresInstalled ? await startPostgres() : undefined;
  const peers: Peer[] = [{ name: "Strata", open: (part) => openStrataPeer(context.freshUrl(part)) }];
  if (server !== undefined)
    peers.push({
      name: "Emmett on PostgreSQL",
      open: async () => await openEmmettTarget(await server.createDatabase()),
    });
  const rows: Row[] = [];
  for (const peer of peers) {
    for (const appenders of settings.appenders) {
      progress(`${peer.name}: ${appenders} appenders`);
      rows.push(await measureAppends(context, peer, appenders));
    }
    for (const workers of settings.workers) {
      progress(`${peer.name}: ${workers} workers`);
      rows.push(await measureLoop(context, peer, workers));
    }
  }
  return rows;
}

export const peers: Scenario<PeersSettings> = {
  name: "peers",
  question: "How do appends and the loop of a command handler compare with other event stores in the same run?",
  sizes: {
    smoke: { appenders: [1], workers: [1], warmUpMs: 10, durationMs: 40, runs: 1 },
    quick: { appenders: [1, 64], workers: [1, 16], warmUpMs: 400, durationMs: 1_500, runs: 1 },
    full: { appenders: [1, 64, 1_024], workers: [1, 16], warmUpMs: 2_000, durationMs: 5_000, runs: 3 },
  },
  run,
};
