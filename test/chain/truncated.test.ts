/** Verifying a log of many segments whose streams are truncated and not dropped yet, or half dropped: nothing of that is a break. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { globalPageSpan } from "../../src/format/key-families.ts";
import { decodeGlobalPage } from "../../src/format/pages.ts";
import { type EventStore, openEventStore } from "../../src/index.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { dropPositions, range, reasonsFor, rowsIn } from "../support/dropping.ts";
import { altered, edited, families, rowWith, setRow } from "../support/tampering.ts";

setDefaultTimeout(120_000);

const streams = 100;
const eventsOfStream = 780;
const truncatedBefore = 760;
/** More segments of 1,024 positions than verifying looks into one by one. */
const total = streams * eventsOfStream;

/** All streams grow side by side, so that each segment has events of all of them. */
async function fill(store: EventStore): Promise<void> {
  for (let version = 0; version < eventsOfStream; version += 60) {
    await store.commit({
      appends: range(1, streams).map((stream) => ({
        streamName: `cart-${stream}`,
        events: range(1, 60).map((n) => ({ type: "Added", data: version + n })),
        expectedVersion: version,
      })),
    });
  }
}

async function truncated(storage: MemoryStorage): Promise<EventStore> {
  const store = await openEventStoreOn(openMemoryKv(storage), { compaction: false });
  await fill(store);
  for (const stream of range(1, streams)) {
    if (stream % 2 === 0) await store.truncateStream(`cart-${stream}`, { beforeVersion: truncatedBefore });
  }
  return store;
}

test("Events that streams hide and the log still has break nothing, before, while and after they are dropped", async () => {
  const storage = createMemoryStorage();
  const store = await truncated(storage);
  const before = await store.verify();
  expect(before).toMatchObject({ holds: true, breaks: [], dropped: 0 });
  expect(before.events).toBeGreaterThan(total);
  await store.close();
  // The compactor takes them from the log first, and here gets no further than a part of that.
  const kv = openMemoryKv(storage);
  const events = (await rowsIn(kv, globalPageSpan(1))).flatMap(decodeGlobalPage);
  const hidden = events.filter(
    ({ streamName, version }) => Number(streamName.split("-")[1]) % 2 === 0 && version < truncatedBefore,
  );
  const some = hidden.slice(0, hidden.length / 2).map(({ position }) => position);
  await dropPositions(kv, reasonsFor(some, "truncated"));
  await using again = await openEventStoreOn(openMemoryKv(storage), { compaction: false });
  expect(await again.verify()).toMatchObject({ holds: true, breaks: [], dropped: some.length });
  await again.compact();
  expect(await again.verify()).toMatchObject({ holds: true, breaks: [], dropped: hidden.length });
});

test("What is altered in one stream is named, whatever is hidden in others", async () => {
  const storage = createMemoryStorage();
  const store = await truncated(storage);
  await store.close();
  const kv = openMemoryKv(storage);
  const page = await rowWith(kv, families.streamPages, total - 90);
  const changed = edited(page, (events) =>
    events.map((event) => (event.position === total - 90 ? altered(event) : event)),
  );
  setRow(storage, page.key, changed?.value);
  await using again = await openEventStoreOn(openMemoryKv(storage), { compaction: false });
  const { holds, breakCount, breaks } = await again.verify();
  expect({ holds, breakCount }).toEqual({ holds: false, breakCount: 1 });
  expect(breaks[0]).toMatchObject({ kind: "altered", reason: expect.stringContaining("the chain holds here") });
});

test("Beside a compactor that drops what was hidden, verifying finds nothing", async () => {
  await using store = await openEventStore({ url: "memory:", compaction: false });
  await fill(store);
  let verified = false;
  const verifying = (async () => {
    for (const stream of range(1, streams)) {
      await store.truncateStream(`cart-${stream}`, { beforeVersion: truncatedBefore });
      if (stream % 25 !== 0) continue;
      expect((await store.verify()).breaks).toEqual([]);
    }
    verified = true;
  })();
  while (!verified) {
    await store.compact();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await verifying;
});
