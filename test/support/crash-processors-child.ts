/** Runs the shop on the store at the given URL, under load, for as long as it lives; says what was acknowledged. */

import { openEventStore } from "../../src/index.ts";
import { checkout, shopEvents, totals } from "./shop.ts";

const [url = "", round = ""] = process.argv.slice(2);
const store = await openEventStore({
  url,
  events: shopEvents,
  projections: [totals("behind", "async"), totals("inline", "inline")],
  processManagers: [checkout],
  // A warning on standard error is for people; the parent looks at what came about.
  onError: () => {},
});
let serial = 0;

async function orderForEver(worker: number): Promise<void> {
  for (;;) {
    const number = ++serial;
    const data = { customer: `c${number % 17}`, total: number % 90 };
    await store.append(`order-${round}.${worker}.${number}`, [{ type: "OrderPlaced", data }], {
      expectedVersion: "no-stream",
    });
    process.stdout.write("+\n");
  }
}

process.stdout.write("open\n");
await Promise.all(Array.from({ length: 4 }, (_, worker) => orderForEver(worker)));
