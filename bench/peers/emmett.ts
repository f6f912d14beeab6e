/**
 * Emmett on PostgreSQL as a target, where it is installed: `cd bench/peers && npm ci --legacy-peer-deps`. It is loaded by a
 * path that the compiler does not follow, so that nothing else needs it to be there.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { SQL } from "bun";
import type { SampleEvent } from "../harness/sample-events.ts";
import type { PeerTarget } from "./measure.ts";

const packages = join(import.meta.dir, "node_modules/@event-driven-io");

/** Whether it can be measured here. */
export const emmettInstalled: boolean = existsSync(join(packages, "emmett-postgresql"));

interface EmmettStore {
  readonly schema: { migrate(): Promise<unknown> };
  appendToStream(
    streamName: string,
    events: readonly SampleEvent[],
    options: { readonly expectedStreamVersion: unknown },
  ): Promise<unknown>;
  readStream(streamName: string): Promise<{ readonly events: readonly { readonly data: unknown }[] }>;
  close(): Promise<void>;
}

/** `url`: a database of PostgreSQL's that nobody has used before. */
export async function openEmmettTarget(url: string): Promise<PeerTarget> {
  const { getPostgreSQLEventStore } = await import(join(packages, "emmett-postgresql/dist/index.js"));
  const { STREAM_DOES_NOT_EXIST } = await import(join(packages, "emmett/dist/index.js"));
  const store: EmmettStore = getPostgreSQLEventStore(url);
  await store.schema.migrate();
  const append = async (streamName: string, event: SampleEvent, expectedStreamVersion: unknown): Promise<void> => {
    await store.appendToStream(streamName, [event], { expectedStreamVersion });
  };
  return {
    appendNew: (streamName, event) => append(streamName, event, STREAM_DOES_NOT_EXIST),
    appendAt: (streamName, event, version) => append(streamName, event, BigInt(version)),
    readStream: async (streamName) => {
      const { events } = await store.readStream(streamName);
      return events.filter((event) => event.data !== undefined).length;
    },
    // Counted in its table: it has no read of everything.
    count: async () => {
      await using sql = new SQL(url, { max: 1 });
      const [row] = await sql`select count(*) as count from emt_messages`;
      return Number(row?.count);
    },
    [Symbol.asyncDispose]: () => store.close(),
  };
}
