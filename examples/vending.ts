#!/usr/bin/env bun
/**
 * Vending machines on routes: `bun examples/vending.ts [--url memory:]`, or `file:DIR`.
 *
 * - Machines and routes are deciders: a machine sells only what it has, a route knows what its driver was told.
 * - A read model adds up what to bring on each route, so that the van is packed before it leaves.
 * - A process manager hears of machines that run low, tells the route, and reminds the driver by a timer who has not come.
 *   What it asks for is carried out once in effect, also if this process is killed on the way.
 */

import { parseArgs } from "node:util";
import {
  DomainRefusal,
  defineDecider,
  defineEvents,
  defineProcessManager,
  defineProjection,
  type EventStore,
  event,
  openEventStore,
  refuse,
} from "strata";
import * as v from "valibot";

const slotSize = 8;
const runsLowAt = 2;
const remindAfterMs = 400;

const count = v.pipe(v.number(), v.integer(), v.minValue(1));
/** A slot of a machine; that each event says the route lets the read model add up without looking anything up. */
const slot = v.object({ route: v.string(), machine: v.string(), product: v.string() });

const machineEvents = defineEvents("machine", {
  MachineInstalled: event({ schema: v.object({ route: v.string(), products: v.array(v.string()) }) }),
  ProductSold: event({ schema: slot }),
  StockRanLow: event({ schema: v.object({ ...slot.entries, left: v.number() }) }),
  SlotRefilled: event({ schema: v.object({ ...slot.entries, quantity: count }) }),
});
const routeEvents = defineEvents("route", {
  RoutePlanned: event({ schema: v.object({ driver: v.string() }) }),
  RestockRequested: event({ schema: slot }),
  DriverReminded: event({ schema: v.object({ driver: v.string(), ...slot.entries }) }),
});

type Vending = EventStore<typeof machineEvents | typeof routeEvents>;

const machines = defineDecider("machine", {
  events: machineEvents,
  commands: {
    Install: v.object({ route: v.string(), products: v.array(v.string()) }),
    Sell: v.object({ product: v.string() }),
    Refill: v.object({ product: v.string() }),
  },
  initialState: (): { route: string; stock: Readonly<Record<string, number>> } => ({ route: "", stock: {} }),
  evolve: {
    MachineInstalled: (_, { data }) => ({
      route: data.route,
      stock: Object.fromEntries(data.products.map((product) => [product, slotSize])),
    }),
    ProductSold: (state, { data }) => stocked(state, data.product, -1),
    StockRanLow: (state) => state,
    SlotRefilled: (state, { data }) => stocked(state, data.product, data.quantity),
  },
  decide: {
    Install: ({ data }, { route }) =>
      route === "" ? [{ type: "MachineInstalled", data }] : refuse("installed-already"),
    Sell: ({ data: { product } }, { route, stock }, { streamName }) => {
      const left = (stock[product] ?? 0) - 1;
      if (left < 0) refuse("sold-out", { product });
      const where = { route, machine: idOf(streamName), product };
      const sold = { type: "ProductSold", data: where } as const;
      return left === runsLowAt ? [sold, { type: "StockRanLow", data: { ...where, left } }] : [sold];
    },
    Refill: ({ data: { product } }, { route, stock }, { streamName }) => {
      const quantity = slotSize - (stock[product] ?? slotSize);
      if (quantity === 0) return [];
      return [{ type: "SlotRefilled", data: { route, machine: idOf(streamName), product, quantity } }];
    },
  },
});

const routes = defineDecider("route", {
  events: routeEvents,
  commands: { Plan: v.object({ driver: v.string() }), RequestRestock: slot, Remind: slot },
  initialState: () => ({ driver: "" }),
  evolve: {
    RoutePlanned: (_, { data }) => ({ driver: data.driver }),
    RestockRequested: (state) => state,
    DriverReminded: (state) => state,
  },
  decide: {
    Plan: ({ data }, { driver }) => (driver === "" ? [{ type: "RoutePlanned", data }] : refuse("planned-already")),
    RequestRestock: ({ data }) => [{ type: "RestockRequested", data }],
    Remind: ({ data }, { driver }) => [{ type: "DriverReminded", data: { driver, ...data } }],
  },
});

function stocked<State extends { readonly stock: Readonly<Record<string, number>> }>(
  state: State,
  product: string,
  change: number,
): State {
  return { ...state, stock: { ...state.stock, [product]: (state.stock[product] ?? 0) + change } };
}

function idOf(streamName: string): string {
  return streamName.slice(streamName.indexOf("-") + 1);
}

/** One document a route: how many of each product its machines lack. Written behind the sales, so that no sale waits for it. */
const toBring = defineProjection("to-bring", {
  version: 1,
  mode: "async",
  events: [machineEvents],
  document: v.record(v.string(), v.number()),
  key: ({ data }) => data.route,
  on: {
    ProductSold: ({ data }, docs) => docs.update(docs.key, (doc = {}) => lacking(doc, data.product, 1)),
    SlotRefilled: ({ data }, docs) => docs.update(docs.key, (doc = {}) => lacking(doc, data.product, -data.quantity)),
  },
});

function lacking(doc: Readonly<Record<string, number>>, product: string, change: number): Record<string, number> {
  const { [product]: known = 0, ...rest } = doc;
  return known + change === 0 ? rest : { ...rest, [product]: known + change };
}

/** One instance for each slot that ran low: it ends when somebody has refilled the slot. */
const restocking = defineProcessManager("restocking", {
  events: [machineEvents],
  correlate: {
    StockRanLow: ({ data }) => `${data.machine}/${data.product}`,
    SlotRefilled: ({ data }) => `${data.machine}/${data.product}`,
  },
  startedBy: ["StockRanLow"],
  initialState: () => ({ route: "", machine: "", product: "" }),
  evolve: { StockRanLow: (_, { data: { route, machine, product } }) => ({ route, machine, product }) },
  react: {
    StockRanLow: (_, place, context) => {
      context.execute(routes, place.route, { type: "RequestRestock", data: place });
      context.schedule("remind", { afterMs: remindAfterMs });
    },
    SlotRefilled: (_, __, context) => context.complete(),
  },
  timers: {
    remind: (_, place, context) => context.execute(routes, place.route, { type: "Remind", data: place }),
  },
});

const say = (text: string): void => console.log(text);

/** A customer takes something, if there is any left. */
async function sell(store: Vending, machine: string, product: string): Promise<"sold" | "sold out"> {
  try {
    await store.execute(machines, machine, { type: "Sell", data: { product } });
    return "sold";
  } catch (error) {
    if (error instanceof DomainRefusal) return "sold out";
    throw error;
  }
}

/** What to bring, with every sale up to now in it. */
async function packingList(store: Vending, route: string): Promise<Readonly<Record<string, number>>> {
  return (await store.documents(toBring).get(route, { atLeast: await store.lastPosition() })) ?? {};
}

function inWords(list: Readonly<Record<string, number>>): string {
  const parts = Object.entries(list).map(([product, missing]) => `${missing} ${product}`);
  return parts.length === 0 ? "nothing" : parts.toSorted().join(", ");
}

async function refill(store: Vending, machine: string): Promise<number> {
  const { state } = await store.load(machines, machine);
  let filled = 0;
  for (const product of Object.keys(state.stock)) {
    const done = await store.execute(machines, machine, { type: "Refill", data: { product } });
    for (const { type, data } of done.events) filled += type === "SlotRefilled" ? data.quantity : 0;
  }
  return filled;
}

const { values } = parseArgs({ options: { url: { type: "string", default: "memory:" } } });
await using store = await openEventStore({
  url: values.url,
  events: [machineEvents, routeEvents],
  projections: [toBring],
  processManagers: [restocking],
});

// Machines and routes of their own for each run, so that it can be run again on the same folder.
const run = crypto.randomUUID().slice(0, 4);
const [harbour, hills] = [`harbour.${run}`, `hills.${run}`];
const products = ["crisps", "water", "nuts"];
const placed = { [harbour]: [`pier.${run}`, `station.${run}`], [hills]: [`school.${run}`] };
const drivers = { [harbour]: "ida", [hills]: "jon" };

say(`Vending machines on ${values.url}\n`);
for (const [route, machinesOfRoute] of Object.entries(placed)) {
  await store.execute(routes, route, { type: "Plan", data: { driver: drivers[route] ?? "" } });
  for (const machine of machinesOfRoute)
    await store.execute(machines, machine, { type: "Install", data: { route, products } });
  say(`Route ${route}, driven by ${drivers[route]}: ${machinesOfRoute.join(", ")}`);
}

const from = await store.lastPosition();
const answers = await Promise.all(
  Object.values(placed)
    .flat()
    .flatMap((machine) => Array.from({ length: 20 }, (_, n) => sell(store, machine, n % 2 === 0 ? "water" : "crisps"))),
);
const sold = answers.filter((answer) => answer === "sold").length;
say(`\n60 thirsty and hungry people at once: ${sold} sold, ${answers.length - sold} times sold out.`);
await store.waitFor("restocking", await store.lastPosition());
for (const route of [harbour, hills]) say(`  to bring on ${route}: ${inWords(await packingList(store, route))}`);

say("\nIda goes at once:");
for (const machine of placed[harbour] ?? []) say(`  ${machine}: ${await refill(store, machine)} filled up`);
say(`  to bring on ${harbour}: ${inWords(await packingList(store, harbour))}`);

say(`\nJon has not come after ${remindAfterMs} ms:`);
const reminders = new Set<string>();
for await (const one of store.subscribe({ from: { after: from }, filter: { types: ["DriverReminded"] } })) {
  if (one.type !== "DriverReminded") continue;
  const { driver, machine, product, route } = one.data;
  say(`  ${driver} is reminded: ${machine} is short of ${product}`);
  if (route === hills) reminders.add(`${machine}/${product}`);
  if (reminders.size === 2) break;
}
for (const machine of placed[hills] ?? []) say(`  ${machine}: ${await refill(store, machine)} filled up`);
say(`  to bring on ${hills}: ${inWords(await packingList(store, hills))}`);

const told: Record<string, number> = {};
for await (const { type } of store.readAll({ fromPosition: from + 1 })) told[type] = (told[type] ?? 0) + 1;
say(`\nWhat happened: ${inWords(told)}`);
