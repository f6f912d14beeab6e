/** What opening finds: a newer format, something that is no store, damage; and what it says of it. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { globalPageKey, logEndKey, storeHeaderKey } from "../../src/format/key-families.ts";
import { decodeStoreHeader, encodeStoreHeader, formatVersion } from "../../src/format/records.ts";
import { defineReactor, StorageCorruptError, StorageUnavailableError } from "../../src/index.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect, errorOf } from "../support/collect.ts";
import { forwardingKv } from "../support/forwarding-kv.ts";
import { encryption, people } from "../support/people.ts";

setDefaultTimeout(60_000);

const binary = (key: Uint8Array): string => Buffer.from(key).toString("latin1");

async function filled(): Promise<MemoryStorage> {
  const storage = createMemoryStorage();
  const store = await openEventStoreOn(openMemoryKv(storage), {});
  for (let n = 0; n < 30; n += 1)
    await store.append(`a-${n % 3}`, [{ type: "T", data: { n } }], { expectedVersion: "any" });
  await store.close();
  return storage;
}

test("A store of a newer format is not opened, and its header stays as it is", async () => {
  const storage = await filled();
  const header = encodeStoreHeader({ formatVersion: formatVersion + 1, storeId: "s", createdAtMs: 0, families: [] });
  storage.rows.set(binary(storeHeaderKey), header);
  const error = await errorOf(openEventStoreOn(openMemoryKv(storage), {}));
  expect(error).toBeInstanceOf(StorageCorruptError);
  expect(error.message).toContain("newer version");
  expect(storage.rows.get(binary(storeHeaderKey))).toBe(header);
  const families = encodeStoreHeader({
    formatVersion,
    storeId: "s",
    createdAtMs: 0,
    families: ["streamHeads", "filters"],
  });
  storage.rows.set(binary(storeHeaderKey), families);
  expect((await errorOf(openEventStoreOn(openMemoryKv(storage), {}))).message).toContain("filters");
});

test("A database that is no store is not opened, and nothing is written to it", async () => {
  const storage = createMemoryStorage();
  storage.rows.set("something", Buffer.from("else"));
  expect((await errorOf(openEventStoreOn(openMemoryKv(storage), {}))).code).toBe("storage-corrupt");
  expect(storage.rows.size).toBe(1);
  storage.rows.set(binary(storeHeaderKey), Buffer.from("not a header"));
  expect((await errorOf(openEventStoreOn(openMemoryKv(storage), {}))).code).toBe("storage-corrupt");
});

test("A store without the end of its log, or with a damaged one, is not opened", async () => {
  const storage = await filled();
  const end = Buffer.from(storage.rows.get(binary(logEndKey)) ?? []);
  storage.rows.delete(binary(logEndKey));
  expect((await errorOf(openEventStoreOn(openMemoryKv(storage), {}))).code).toBe("storage-corrupt");
  end[7] = (end[7] ?? 0) ^ 1;
  storage.rows.set(binary(logEndKey), end);
  expect((await errorOf(openEventStoreOn(openMemoryKv(storage), {}))).code).toBe("storage-corrupt");
});

test("A damaged or missing page is told by the read that meets it, and other reads go on", async () => {
  const storage = await filled();
  await using store = await openEventStoreOn(openMemoryKv(storage), {});
  const key = binary(globalPageKey(10));
  const page = Buffer.from(storage.rows.get(key) ?? []);
  expect(page.length).toBeGreaterThan(0);
  storage.rows.delete(key);
  const missing = await errorOf(collect(store.readAll()));
  expect(missing).toMatchObject({ code: "storage-corrupt" });
  expect(missing.message).toContain("10");
  page[page.length - 1] = (page.at(-1) ?? 0) ^ 0x40;
  storage.rows.set(key, page);
  expect((await errorOf(collect(store.readAll()))).code).toBe("storage-corrupt");
  expect((await collect(store.readAll({ fromPosition: 11 }))).length).toBe(20);
  expect((await collect(store.readStream("a-0"))).length).toBe(10);
});

test("Whatever has begun to work is stopped where opening fails behind it", async () => {
  const inner = openMemoryKv(await filled());
  const began = Promise.withResolvers<AbortSignal>();
  const reactor = defineReactor("mailer", {
    mode: "async",
    filter: { types: ["T"] },
    on: {
      T: async (_, { signal }) => {
        const aborted = Promise.withResolvers<void>();
        signal.addEventListener("abort", () => aborted.resolve(), { once: true });
        began.resolve(signal);
        await aborted.promise;
      },
    },
  });
  const kv = forwardingKv(inner, {
    write: async (operations) => {
      const header = operations.find(({ key }) => storeHeaderKey.equals(key));
      if (header?.kind === "put" && decodeStoreHeader(header.value).families.includes("erasures")) {
        await began.promise;
        throw new StorageUnavailableError("simulated", { outcome: "not-applied" });
      }
      await inner.write(operations);
    },
  });
  const opening = openEventStoreOn(kv, { events: [people], encryption, reactors: [reactor] });
  expect(await errorOf(opening)).toMatchObject({ code: "storage-unavailable", message: "simulated" });
  expect((await began.promise).aborted).toBe(true);
  expect(kv.status().state).toBe("closed");
});
