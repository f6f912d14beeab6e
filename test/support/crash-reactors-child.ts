/**
 * Orders, and has reactors deliver, for as long as it lives; says what was acknowledged: `bun crash-reactors-child.ts URL
 * FILE ROUND`.
 */

import { type EventStore, openEventStore } from "../../src/index.ts";
import { deliveryReactors, poisonType } from "./deliveries.ts";

const [url = "", file = "", round = ""] = process.argv.slice(2);
const opened = Promise.withResolvers<EventStore>();
const store = await openEventStore({ url, reactors: deliveryReactors(file, opened.promise), onError: () => {} });
opened.resolve(store);
let serial = 0;

async function orderForEver(worker: number): Promise<void> {
  for (;;) {
    const number = ++serial;
    const type = number % 40 === 0 ? poisonType : "Ordered";
    // What is parked stops its stream, so it has one to itself.
    const streamName = type === poisonType ? `poison-${round}.${number}` : `order-${worker}.${number % 7}`;
    await store.append(streamName, [{ type, data: { number } }], { expectedVersion: "any" });
    process.stdout.write("+\n");
  }
}

await Promise.all(Array.from({ length: 4 }, (_, worker) => orderForEver(worker)));
