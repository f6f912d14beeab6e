/**
 * A process that appends orders and runs the projection `totals` over them until it is killed: `bun projecting-child.ts STORE
 * DATABASE [count]`. Says by lines how far the tables have come. With a count it stops appending then, and runs on.
 */

import { openEventStore, runSqlProjections } from "../../src/index.ts";
import { order, totals } from "./reporting.ts";

const [url = "", database = "", count] = process.argv.slice(2);
const appendsMax = count === undefined ? Number.POSITIVE_INFINITY : Number(count);
const batchOrders = 20;

const store = await openEventStore({ url, events: [order] });
const running = runSqlProjections(store, [totals(database, { batchEvents: 50 })], { leaseMs: 1_000 });

async function append(): Promise<void> {
  let position = await store.lastPosition();
  for (let n = 0; n < appendsMax; n += 1) {
    const start = position;
    const appends = Array.from({ length: batchOrders }, (_, k) => ({
      streamName: `order-${start}-${k}` as const,
      events: [{ type: "OrderPlaced", data: { customer: `c${(start + k) % 13}`, total: k } }] as const,
      expectedVersion: "no-stream" as const,
    }));
    ({ position } = await store.commit({ appends }));
  }
}

const appending = append();
let said = -1;
for (;;) {
  const position = running.projections()[0]?.position ?? 0;
  if (position !== said) console.log(position);
  said = position;
  await Promise.race([appending, Bun.sleep(5)]);
  await Bun.sleep(1);
}
