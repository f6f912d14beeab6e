/** What is known: an inline read model, a SQL report, the processors; then replay and time travel, which need none of them. */

import { SQL } from "bun";
import { orders } from "../deciders.ts";
import type { Shop } from "../events.ts";
import { collect, euros } from "../helpers.ts";
import { chapter, figure, say, show } from "../narrator.ts";
import { orderOverview } from "../read-models.ts";

export async function readModels(store: Shop, reportFile: string, ids: readonly string[]): Promise<void> {
  chapter("Read models: documents in the commit itself, and a report in SQLite right behind it");
  for (const [n, order] of (await store.documents(orderOverview).getMany(ids)).entries())
    show(`document ${n + 1}`, JSON.stringify(order));
  const found = await collect(store.documents(orderOverview).find("customer", "kim"));
  show("orders of kim", figure(found.length));
  await store.waitFor("sales", await store.lastPosition());
  await using sql = new SQL(`sqlite:${reportFile}`);
  const rows: { sku: string; paid: number; cancelled: number; cents: number }[] = await sql`
    select sku,
      sum(case outcome when 'paid' then quantity else 0 end) as paid,
      sum(case outcome when 'cancelled' then quantity else 0 end) as cancelled,
      sum(case outcome when 'paid' then cents else 0 end) as cents
    from sold_items join outcomes using (order_id) group by sku order by cents desc, sku limit 5`;
  say(`select ... from sold_items join outcomes, in ${reportFile}:`);
  for (const { sku, paid, cancelled, cents } of rows)
    say(
      `  ${sku.padEnd(8)} ${String(paid).padStart(4)} paid ${String(cancelled).padStart(4)} cancelled  ${euros(cents)}`,
    );
  for (const { name, kind, state, lagEvents } of store.processors())
    show(name, `${kind}, ${state}, ${figure(lagEvents)} events behind`);
}

export async function replay(store: Shop, id: string): Promise<void> {
  chapter("Replay: the state is a fold over what happened");
  for (const one of await collect(store.readStream(`order-${id}`)))
    say(`${String(one.version).padStart(2)}  ${one.type.padEnd(14)} ${JSON.stringify(one.data)}`);
  const { state } = await store.load(orders, id);
  show("the order comes to", `${euros(state.totalCents)}, ${state.status}`);
  const bought = await collect(store.readAll({ filter: { tags: ["sku:teapot"] } }));
  show("teapots ever ordered", figure(bought.length));
}

export async function travel(store: Shop, id: string): Promise<void> {
  chapter("Time travel: the same order, as it was");
  const [, second] = await collect(store.readStream(`order-${id}`, { limit: 2 }));
  if (second === undefined) throw new Error("The order has two events at least");
  const then = await store.asOf(second.position).load(orders, id);
  show(
    `as of position ${second.position}`,
    `${euros(then.state.totalCents)}, ${then.state.status}, version ${then.version}`,
  );
  const before = await store.asOf(new Date(second.recordedAt.getTime() - 1)).load(orders, id);
  show("a millisecond before", `version ${before.version}`);
  const now = await store.load(orders, id);
  show("now", `${euros(now.state.totalCents)}, ${now.state.status}, version ${now.version}`);
}
