/** A storage that stops answering in the middle of a command: the command says so, and ends although the engine never gives up. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { startS3StandIn } from "../kv/s3-stand-in.ts";
import { standInCredentials } from "../kv/stores.ts";
import { strata } from "./support.ts";

// A read waits for 30 seconds, and closing for a while longer.
setDefaultTimeout(180_000);

test("A command whose reads are never answered fails, and its process ends", async () => {
  await using standIn = startS3StandIn();
  const { endpoint, location } = standIn;
  const s3 = { endpoint, ...standInCredentials };
  const kv = await openSlateKv({ location, s3, clock: systemClock });
  const store = await openEventStoreOn(kv, {});
  await store.append("order-1", [{ type: "Noted", data: {} }], { expectedVersion: "any" });
  await store.close();
  let held = 0;
  standIn.intercept(({ key, method }) => {
    if (method !== "GET" || !key.includes("/compacted/")) return undefined;
    held += 1;
    return new Promise<never>(() => {});
  });
  const { accessKeyId, secretAccessKey } = standInCredentials;
  const finished = await strata(["stats", "--url", location.url, "--endpoint", endpoint], {
    environment: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  });
  expect(held).toBeGreaterThan(0);
  expect(finished.stderr).toMatch(/^strata: [^\n]* \(storage-unavailable\)\n$/);
  expect(finished.exitCode).toBe(1);
});
