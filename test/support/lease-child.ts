/**
 * A process that runs the projection `totals` over a log that is the same in each such process: `bun lease-child.ts DATABASE
 * LEASE_MS COUNT [STOP_AT]`. Says its state and position by lines; appends as many orders again for each line that it reads.
 * At the event at STOP_AT it stops itself (SIGSTOP), in the middle of its transaction.
 */

import { runSqlProjections } from "../../src/index.ts";
import { numberedOrders, openNumbered, totals } from "./reporting.ts";

const [database = "", leaseMs = "1000", count = "100", stopAt = "0"] = process.argv.slice(2);

const store = await openNumbered();
let appended = await numberedOrders(store, 0, Number(count));
const projection = totals(database, {
  batchEvents: 10,
  before: (position) => {
    if (position === Number(stopAt)) process.kill(process.pid, "SIGSTOP");
  },
});
const running = runSqlProjections(store, [projection], { leaseMs: Number(leaseMs), onError: () => {} });

async function appendMore(): Promise<void> {
  for await (const _ of console) appended = await numberedOrders(store, appended, Number(count));
}

void appendMore();
let said = "";
for (;;) {
  const [info] = running.projections();
  const line = `${info?.state} ${info?.position}`;
  if (line !== said) console.log(line);
  said = line;
  await Bun.sleep(2);
}
