/** Emmett on SQLite at work, in Node: `FILE WORK AT-ONCE SETTINGS`. The last line on standard output is the report. */

import type { LoopSettings } from "../harness/closed-loop.ts";
import type { SampleEvent } from "../harness/sample-events.ts";
import { measurePeer, type PeerTarget, type PeerWork } from "./measure.ts";

interface EmmettStore {
  readonly schema: { migrate(): Promise<unknown> };
  appendToStream(
    streamName: string,
    events: readonly SampleEvent[],
    options: { readonly expectedStreamVersion: unknown },
  ): Promise<unknown>;
  readStream(streamName: string): Promise<{ readonly events: readonly { readonly data: unknown }[] }>;
}

interface Sqlite {
  get(sql: string, done: (error: Error | null, row: { readonly count: number }) => void): void;
}

const attemptsMax = 20;

// Names that the compiler does not follow, so that nothing else needs the packages to be there.
const names = { store: "@event-driven-io/emmett-sqlite", words: "@event-driven-io/emmett", driver: "sqlite3" };
const { getSQLiteEventStore } = await import(names.store);
const { STREAM_DOES_NOT_EXIST } = await import(names.words);
const { default: driver } = await import(names.driver);

async function openTarget(fileName: string): Promise<PeerTarget> {
  const store: EmmettStore = getSQLiteEventStore({ fileName });
  await store.schema.migrate();
  // Now and then its commit fails because a statement of its own has not ended ("SQL statements in progress"): rolled back.
  const append = async (streamName: string, event: SampleEvent, expectedStreamVersion: unknown): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await store.appendToStream(streamName, [event], { expectedStreamVersion });
        return;
      } catch (error) {
        if (attempt >= attemptsMax || !String(error).includes("SQLITE_BUSY")) throw error;
      }
    }
  };
  return {
    appendNew: (streamName, event) => append(streamName, event, STREAM_DOES_NOT_EXIST),
    appendAt: (streamName, event, version) => append(streamName, event, BigInt(version)),
    readStream: async (streamName) => {
      const { events } = await store.readStream(streamName);
      return events.filter((event) => event.data !== undefined).length;
    },
    count: () =>
      new Promise((resolve, reject) => {
        const database: Sqlite = new driver.Database(fileName);
        database.get("select count(*) as count from emt_messages", (error, row) =>
          error === null ? resolve(row.count) : reject(error),
        );
      }),
    [Symbol.asyncDispose]: async () => {},
  };
}

const [file = "", work = "", atOnce = "", settings = ""] = process.argv.slice(2);
const target = await openTarget(file);
const report = await measurePeer(target, work as PeerWork, Number(atOnce), JSON.parse(settings) as LoopSettings);
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);
