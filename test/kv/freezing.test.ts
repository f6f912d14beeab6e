/**
 * With the binding's own callback the engine's thread waits for this one whenever it wakes a call of ours, and does so with the lock of
 * its connection pool in hand: a call that needs a connection at that moment waits for the lock, on this thread, for ever. No deadline of
 * ours can end that, so there must be no waiting. With it these reads froze the process within a few rounds.
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import type { S3Options } from "../../src/kv/object-store.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { StoreChild } from "../support/child.ts";
import { signersOf } from "../support/credential-sources.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { standInCredentials, temporaryFolder, until } from "./stores.ts";

setDefaultTimeout(60_000);

const keys: readonly number[] = Array.from({ length: 256 }, (_, key) => key);
/** Reading all of it takes less than a second. */
const patienceMs = 10_000;

/** A child with rows on storage, and none of them in its memory. */
async function openColdChild(standIn: S3StandIn, tuning: Partial<SlateTuning>): Promise<StoreChild> {
  const child = new StoreChild();
  await fillAndReopen(child, standIn, tuning, { endpoint: standIn.endpoint, ...standInCredentials });
  return child;
}

async function fillAndReopen(
  child: StoreChild,
  { location }: S3StandIn,
  tuning: Partial<SlateTuning>,
  s3: S3Options,
): Promise<void> {
  await child.open(location, {}, s3);
  for (let from = 0; from < keys.length; from += 64) await child.write(keys.slice(from, from + 64), 4_096);
  await child.close();
  await child.open(location, tuning, s3);
}

/** Whether the child answers to `request` within that time. */
async function answers(
  child: StoreChild,
  request: Parameters<StoreChild["ask"]>[0],
  withinMs: number,
): Promise<boolean> {
  const asking = child.ask(request).then(
    () => true,
    () => false,
  );
  return await Promise.race([asking, Bun.sleep(withinMs).then(() => false)]);
}

test("Many reads at once from a bucket all end, and the process goes on", async () => {
  await using standIn = startS3StandIn();
  await using child = await openColdChild(standIn, {});
  for (let round = 0; round < 3; round += 1) {
    expect(await answers(child, { kind: "read-at-once", keys, scans: 8 }, patienceMs)).toBe(true);
  }
  expect(await answers(child, { kind: "status" }, patienceMs)).toBe(true);
  await child.close();
});

test("They all end too while the credentials that sign them are asked for again and again", async () => {
  await using standIn = startS3StandIn();
  await using folder = await temporaryFolder();
  const script = join(import.meta.dir, "../support/credential-process.ts");
  const config = join(folder.directory, "config");
  await Bun.write(config, `[profile used]\ncredential_process = "${process.execPath}" "${script}" 3000\n`);
  const environment = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined, AWS_SESSION_TOKEN: undefined };
  await using child = new StoreChild({ ...environment, AWS_CONFIG_FILE: config, AWS_PROFILE: "used" });
  await fillAndReopen(child, standIn, {}, { endpoint: standIn.endpoint });
  const renewed = async (): Promise<boolean> => {
    expect(await answers(child, { kind: "read-at-once", keys, scans: 8 }, patienceMs)).toBe(true);
    return signersOf(standIn).length > 4;
  };
  await until("reads were signed with credentials renewed some times", renewed, 30_000);
  await child.close();
});

test("They all end in a store that is opened again and again, with connections that are kept and without", async () => {
  await using standIn = startS3StandIn();
  await using child = await openColdChild(standIn, {});
  for (let round = 0; round < 10; round += 1) {
    expect(await answers(child, { kind: "read-at-once", keys, scans: 8 }, patienceMs)).toBe(true);
    await child.close();
    const tuning = { reuseConnections: round % 3 !== 0 };
    await child.open(standIn.location, tuning, { endpoint: standIn.endpoint, ...standInCredentials });
  }
  expect(await answers(child, { kind: "status" }, patienceMs)).toBe(true);
  await child.close();
});
