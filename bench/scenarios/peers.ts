/**
 * Strata beside other event stores in one run, on the same machine with the same event; those that are installed. PostgreSQL
 * syncs its log before it answers; a folder of Strata's is not synced, a bucket is: say so with the figures.
 */

import { temporaryFolder } from "../../test/support/backends.ts";
import { postgresInstalled, startPostgres } from "../../test/support/postgres.ts";
import type { LoopReport, LoopSettings } from "../harness/closed-loop.ts";
import type { Row, Scenario, ScenarioContext } from "../harness/scenario.ts";
import { emmettInstalled, openEmmettTarget } from "../peers/emmett.ts";
import { emmettSqliteAtOnceMax, emmettSqliteInstalled, measureEmmettSqlite } from "../peers/emmett-sqlite.ts";
import { measurePeer, type PeerTarget, type PeerWork } from "../peers/measure.ts";
import { openStrataPeer } from "../peers/strata.ts";

export interface PeersSettings extends LoopSettings {
  readonly appenders: readonly number[];
  readonly workers: readonly number[];
}

interface Peer {
  readonly name: string;
  /** With more at once it does not work. */
  readonly atOnceMax?: number;
  measure(work: PeerWork, atOnce: number): Promise<LoopReport>;
}

type Context = ScenarioContext<PeersSettings>;

/** A peer that runs in this process. */
function peerHere(name: string, { settings, memory }: Context, open: (part: string) => Promise<PeerTarget>): Peer {
  return {
    name,
    measure: async (work, atOnce) => {
      await using target = await open(`${work === "append" ? "append" : "loop"}-${atOnce}`);
      await memory.settle();
      return await measurePeer(target, work, atOnce, settings);
    },
  };
}

async function measure(peer: Peer, work: PeerWork, atOnce: number): Promise<Row> {
  const parameters = { peer: peer.name, work, at_once: atOnce };
  if (peer.atOnceMax !== undefined && atOnce > peer.atOnceMax)
    return { parameters, n: 0, extra: { remark: "fails, or does not answer, with so many at once" } };
  const { count: n, perSecond, latencyMs } = await peer.measure(work, atOnce);
  return { parameters, n, perSecond, latencyMs };
}

async function run(context: Context): Promise<readonly Row[]> {
  const { settings, progress } = context;
  await using server = emmettInstalled && postgresInstalled ? await startPostgres() : undefined;
  await using folder = await temporaryFolder();
  const peers: Peer[] = [peerHere("Strata", context, (part) => openStrataPeer(context.freshUrl(part)))];
  if (server !== undefined) {
    const open = async (): Promise<PeerTarget> => await openEmmettTarget(await server.createDatabase());
    peers.push(peerHere("Emmett on PostgreSQL", context, open));
  }
  if (emmettSqliteInstalled) {
    const fileOf = (work: PeerWork, atOnce: number): string =>
      `${folder.path}/${work.replace(/\W+/g, "-")}-${atOnce}.db`;
    peers.push({
      name: "Emmett on SQLite (Node)",
      atOnceMax: emmettSqliteAtOnceMax,
      measure: (work, atOnce) => measureEmmettSqlite(fileOf(work, atOnce), work, atOnce, settings),
    });
  }
  const rows: Row[] = [];
  for (const peer of peers) {
    for (const atOnce of settings.appenders) {
      progress(`${peer.name}: ${atOnce} appenders`);
      rows.push(await measure(peer, "append", atOnce));
    }
    for (const atOnce of settings.workers) {
      progress(`${peer.name}: ${atOnce} workers`);
      rows.push(await measure(peer, "read 20, append 1", atOnce));
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
