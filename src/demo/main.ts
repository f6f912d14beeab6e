#!/usr/bin/env bun
/**
 * `bun run start [--url URL]`: Strata under a small shop, in a few seconds. Everything shown happens: the errors are thrown, the
 * figures are measured on this machine in this run. Runs on the same folder as often as one likes.
 */

import { parseArgs } from "node:util";
import { EventStoreError } from "../index.ts";
import { measure } from "./chapters/figures.ts";
import { follow } from "./chapters/following.ts";
import { overdue, payAndShip } from "./chapters/fulfilling.ts";
import { lookBack } from "./chapters/history.ts";
import { placeOrder, refuseNonsense, resolveConflict } from "./chapters/ordering.ts";
import { readModels, replay, travel } from "./chapters/reading.ts";
import { takeOver } from "./chapters/takeover.ts";
import { figure, say } from "./narrator.ts";
import { openShop, type Premises, reportPlace } from "./open-shop.ts";

const usage = `Usage: bun run start [--url URL] [--endpoint URL] [--create-bucket]

  --url URL         memory:, file:DIR or s3://bucket/prefix; default file:.data/shop
  --endpoint URL    the S3 server, where it is not Amazon's; credentials come from AWS_*
  --create-bucket   make the bucket where there is none`;

const { values } = parseArgs({
  options: {
    url: { type: "string", default: "file:.data/shop" },
    endpoint: { type: "string" },
    "create-bucket": { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

async function tell(premises: Premises): Promise<void> {
  await using shop = await openShop(premises);
  const { store } = shop;
  const known = await store.lastPosition();
  say(known === 0 ? "The store is new." : `The store holds ${figure(known)} events from earlier runs.`);
  const [kims, lees, another] = [crypto.randomUUID(), crypto.randomUUID(), crypto.randomUUID()];
  await placeOrder(store, kims);
  await refuseNonsense(store, kims);
  await resolveConflict(store, kims);
  await payAndShip(shop, kims);
  await overdue(shop, lees);
  await readModels(store, premises.reportFile, [kims, lees]);
  await replay(store, kims);
  await travel(store, kims);
  await lookBack(store, kims);
  await follow(store);
  await measure(store);
  await takeOver(shop, premises, another);
}

async function main(): Promise<void> {
  if (values.help) {
    process.stdout.write(`${usage}\n`);
    return;
  }
  const { url, endpoint, "create-bucket": createBucket } = values;
  process.stdout.write(`Strata: a small shop on ${url}\n`);
  await using report = await reportPlace(url);
  const s3 = { createBucket, ...(endpoint === undefined ? {} : { endpoint }) };
  await tell({ url, s3, reportFile: report.path });
  process.stdout.write(url === "memory:" ? "\n" : `\nRun it again: it goes on with what is in ${url}.\n`);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof EventStoreError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exitCode = 1;
}
