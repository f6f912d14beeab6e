/** What the plan charges for replicas is what the engine's reader asks for: the whole WAL in each look, five requests a group. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { projectCost } from "../../src/index.ts";
import { prepareBucket } from "../../src/kv/bucket-access.ts";
import { NativeReaderBuilder } from "../../src/kv/slatedb-binding.ts";
import { bucketPlace } from "../../src/kv/slatedb-place.ts";
import { startS3StandIn } from "../kv/s3-stand-in.ts";
import { noise, openOnStandIn, put, standInCredentials, until } from "../kv/stores.ts";

setDefaultTimeout(60_000);

test("A replica lists the manifests and each page of the WAL in each look, and asks five times for each group", async () => {
  await using standIn = startS3StandIn();
  // The writer is silent, so that what is seen is the replica's.
  const silent = {
    manifestPollMs: 600_000,
    compactorPollMs: 600_000,
    garbageIntervalMs: 600_000,
    memtableFlushGroups: 10_000,
  };
  const kv = await openOnStandIn(standIn, silent);
  for (let group = 0; group < 1_500; group += 1) await kv.write([put(`k${group}`, noise(10))]);
  const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
  const place = bucketPlace(standIn.location, await prepareBucket(standIn.location, s3), false);
  const builder = new NativeReaderBuilder(place.path, place.store);
  builder.with_options({
    manifest_poll_interval_ms: 100,
    checkpoint_lifetime_ms: 3_600_000,
    max_memtable_bytes: 2 ** 40,
    skip_wal_replay: false,
  });
  const reader = await builder.build();
  let from = standIn.requests.length;
  const seen = (method: string, part: string): number =>
    standIn.requests.slice(from).filter((one) => one.method === method && one.key.includes(part)).length;
  const lists = (): number => standIn.requests.slice(from).filter(({ key }) => key === "").length;

  await until("it has looked twenty times", () => seen("GET", "/manifest/") >= 20);
  const pages = 2;
  // A look may be half done when counting begins and ends.
  expect(Math.abs(lists() - seen("GET", "/manifest/") * (1 + pages))).toBeLessThanOrEqual(2 * (1 + pages));
  expect(seen("GET", "/wal/")).toBe(0);
  const planned = projectCost({ replicas: 1, replicaPollMs: 100 }).byPurpose.replicas.requests;
  expect(planned.lists / planned.gets).toBe(2);

  from = standIn.requests.length;
  for (let group = 0; group < 20; group += 1) await kv.write([put(`n${group}`, noise(10))]);
  await until("it has read the new groups", () => seen("HEAD", "/wal/") >= 20);
  await until("it is through with them", () => seen("GET", "/wal/") >= 80);
  expect(seen("HEAD", "/wal/")).toBe(20);
  expect(seen("GET", "/wal/")).toBe(80);
  await reader.shutdown();
  reader.dispose();
  await kv.close();
});
