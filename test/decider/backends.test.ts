/** Deciders on every storage: what is decided, kept as a snapshot and opened again is the same, and a takeover ends it. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { parseStoreUrl } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { type Backend, backends } from "../support/backends.ts";
import { errorOf } from "../support/collect.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";
import { defineShow, foldShow, show } from "../support/show.ts";

setDefaultTimeout(60_000);

const shows = defineShow({ snapshots: { version: 1, everyEvents: 10 } });
const reserve = (seat: number, by = "ann") => ({ type: "Reserve", data: { seat, by } }) as const;

function testOn(backend: Backend): void {
  describe(`Deciders on ${backend.name}`, () => {
    test("decide at once on many streams, and again after another opening", async () => {
      await using storage = await backend.create();
      const first = await openEventStoreOn(await storage.open(), { events: [show] });
      const ids = Array.from({ length: 10 }, (_, index) => String(index));
      const work = ids.flatMap((id) =>
        Array.from({ length: 25 }, (_, index) => first.execute(shows, id, reserve(index + 1))),
      );
      await Promise.all(work);
      await first.snapshot(shows, "0");
      const before = await Promise.all(ids.map((id) => first.load(shows, id)));
      expect(before.map(({ version }) => version)).toEqual(ids.map(() => 25));
      const events = Array.from({ length: 25 }, (_, index) => ({
        ...{ type: "SeatReserved", data: { seat: index + 1, by: "ann" } },
      }));
      for (const { state } of before) expect(state).toEqual(foldShow(events));
      await first.close();
      if (!backend.reopens) return;
      const second = await openEventStoreOn(await storage.open(), { events: [show] });
      expect(await Promise.all(ids.map((id) => second.load(shows, id)))).toEqual(before);
      expect(await second.execute(shows, "3", reserve(26))).toMatchObject({ streamVersion: 26 });
      await second.close();
    });

    test.skipIf(!backend.reopens)(
      "write nothing once another writer has taken over, however warm the cache is",
      async () => {
        await using storage = await backend.create();
        const first = await openEventStoreOn(await storage.open(), { events: [show] });
        await first.execute(shows, "1", reserve(1));
        const second = await openEventStoreOn(await storage.open(), { events: [show] });
        await second.execute(shows, "1", { type: "Close", data: { why: "taken over" } });
        expect((await errorOf(first.execute(shows, "1", reserve(2)))).code).toBe("writer-fenced");
        expect(await second.load(shows, "1")).toMatchObject({ version: 3, state: { closed: true, seats: {} } });
        await first.close().catch(() => {});
        await second.close();
      },
    );
  });
}

for (const backend of backends) testOn(backend);

describe.skipIf(!minioAvailable)("With a real S3 server", () => {
  let minio: Minio | undefined;
  beforeAll(async () => {
    minio = await startMinio();
  });
  afterAll(() => minio?.[Symbol.asyncDispose]());

  testOn({
    name: "SlateDB on MinIO",
    reopens: true,
    create: async () => {
      if (minio === undefined) throw new Error("MinIO is not running");
      const { s3 } = minio;
      const location = parseStoreUrl(`s3://${await minio.createBucket()}/shows`);
      return { open: () => openSlateKv({ location, s3, clock: systemClock }), [Symbol.asyncDispose]: async () => {} };
    },
  });
});
