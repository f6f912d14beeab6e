/** What happened to an order, who did it and why: its history, who set what in its state, and the tree of causes over streams. */

import type { TraceNode } from "../../index.ts";
import { orders } from "../deciders.ts";
import type { Shop } from "../events.ts";
import { chapter, figure, say, show } from "../narrator.ts";

export async function lookBack(store: Shop, id: string): Promise<void> {
  chapter("Who, when, why and what: the history of the order, and who set what");
  const streamName = `order-${id}` as const;
  for await (const { event, actor, causes, changes } of store.history(streamName, { decider: orders })) {
    const changed = changes.map((one) => `${one.path} ${"after" in one ? JSON.stringify(one.after) : "removed"}`);
    const why = causes[0]?.event === undefined ? "" : `, because of ${causes[0].event.type}`;
    show(`${event.version}  ${event.type}`, `${changed.join(", ")} (by ${actor ?? "nobody"}${why})`);
  }
  const blame = await store.blame(streamName, { decider: orders });
  for (const { path, value, event } of blame?.lines ?? [])
    show(
      `blame ${path}`,
      `${JSON.stringify(value)} since version ${event?.version ?? 0}, ${event?.type ?? "the start"}`,
    );
  const confirmed = await firstOf(store, streamName);
  if (confirmed === undefined) return;
  const { roots, events } = await store.trace(confirmed);
  say(`What came of the confirmation: ${figure(events)} events over several streams.`);
  tell(roots, "");
}

async function firstOf(store: Shop, streamName: `order-${string}`): Promise<string | undefined> {
  for await (const one of store.readStream(streamName)) if (one.type === "OrderConfirmed") return one.id;
  return undefined;
}

function tell(nodes: readonly TraceNode[], indent: string): void {
  for (const { event, effects } of nodes) {
    say(`${indent}${event.type} in ${event.streamName.split("-")[0]}`);
    tell(effects, `${indent}  `);
  }
}
