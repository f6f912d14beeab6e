/** A process that opens a store for reading, then for writing, says in one line each what came of it, and ends when nothing keeps it. */

import { EventStoreError, openEventStore, openEventStoreReader } from "../../src/index.ts";

const [url = ""] = process.argv.slice(2);

for (const open of [openEventStoreReader, openEventStore]) {
  try {
    await using store = await open({ url });
    let events = 0;
    for await (const _ of store.readAll()) events += 1;
    console.log(JSON.stringify({ events }));
  } catch (error) {
    if (!(error instanceof EventStoreError)) throw error;
    console.log(JSON.stringify({ code: error.code, message: error.message }));
  }
}
