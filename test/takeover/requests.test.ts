/** What a lease asks of a bucket, and when: seen request by request, on a server that holds answers back or refuses them. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { type EventStore, type OpenOptions, openEventStore } from "../../src/index.ts";
import { type S3StandIn, type SeenRequest, s3Error, startS3StandIn } from "../kv/s3-stand-in.ts";
import { standInCredentials } from "../kv/stores.ts";
import { errorOf, until } from "../support/collect.ts";

setDefaultTimeout(60_000);

function openOn(standIn: S3StandIn, options: Partial<OpenOptions> = {}): Promise<EventStore> {
  const s3 = { endpoint: standIn.endpoint, ...standInCredentials };
  return openEventStore({ url: standIn.location.url, s3, leaseIntervalMs: 200_000, ...options });
}

const isLease = ({ key }: SeenRequest): boolean => key === "store/lease.json";
const isDatabase = ({ key }: SeenRequest): boolean => key.startsWith("store/db/");
const leaseMethods = (standIn: S3StandIn): readonly string[] =>
  standIn.requests.filter(isLease).map(({ method }) => method);

test("An opening costs one GET and one PUT before the engine writes, a close one PUT after it has", async () => {
  await using standIn = startS3StandIn();
  const store = await openOn(standIn);
  expect(leaseMethods(standIn)).toEqual(["GET", "PUT"]);
  const writes = standIn.requests.filter(({ method }) => method === "PUT");
  expect(writes.findIndex(isLease)).toBe(0);
  expect(writes.filter(isDatabase).length).toBeGreaterThan(0);
  await store.append("a-1", [{ type: "T", data: 1 }], { expectedVersion: "no-stream" });
  await store.close();
  expect(leaseMethods(standIn)).toEqual(["GET", "PUT", "PUT"]);
  const last = standIn.requests.findLastIndex(({ method }) => method === "PUT");
  expect(standIn.requests.slice(last).filter(isLease).length).toBe(1);
  const conditions = standIn.requests.filter((request) => isLease(request) && request.method === "PUT");
  for (const { headers } of conditions) expect(headers.has("if-match") || headers.has("if-none-match")).toBe(true);
});

test("An opening that takes long renews its lease meanwhile", async () => {
  await using standIn = startS3StandIn();
  const held = Promise.withResolvers<undefined>();
  standIn.intercept((request) => (isDatabase(request) ? held.promise : undefined));
  const opening = openOn(standIn, { leaseIntervalMs: 100 });
  await until(() => leaseMethods(standIn).filter((method) => method === "PUT").length >= 4);
  held.resolve(undefined);
  await using store = await opening;
  expect(store.health()).toMatchObject({ state: "open", lease: { state: "held" } });
});

test("A lease that may not be stored stops neither opening nor writing, and shows in health until it may", async () => {
  await using standIn = startS3StandIn();
  const refuse = (request: SeenRequest): Response | undefined =>
    isLease(request) && request.method === "PUT" ? s3Error(403, "AccessDenied") : undefined;
  standIn.intercept(refuse);
  await using store = await openOn(standIn, { leaseIntervalMs: 100 });
  await store.append("a-1", [{ type: "T", data: 1 }], { expectedVersion: "no-stream" });
  expect(store.health()).toMatchObject({
    state: "open",
    lease: { state: "failing", error: { code: "storage-unavailable" } },
  });
  standIn.intercept(undefined);
  await until(() => store.health().lease?.state === "held");
  standIn.intercept(refuse);
  await until(() => store.health().lease?.state === "failing");
  await store.append("a-1", [{ type: "T", data: 2 }], { expectedVersion: 1 });
  standIn.intercept(undefined);
});

test("A standby that may not read the lease says so at once", async () => {
  await using standIn = startS3StandIn();
  standIn.intercept((request) => (isLease(request) ? s3Error(403, "AccessDenied") : undefined));
  const error = await errorOf(openOn(standIn, { takeover: "when-idle" }));
  expect(error).toMatchObject({ code: "storage-unavailable" });
  expect(standIn.requests.filter(isDatabase)).toEqual([]);
});
