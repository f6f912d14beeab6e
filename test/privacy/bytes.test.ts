/** The bytes prove it: what is in storage before and after a subject is forgotten, on a folder and on a real MinIO. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { decodeKeyShard, keyShardName } from "../../src/format/key-shard.ts";
import { openEventStore } from "../../src/index.ts";
import { openObjects } from "../../src/kv/objects.ts";
import { kinds, type Place, stopServer } from "../replica/places.ts";
import { collect } from "../support/collect.ts";
import { encryption, masterKey, people, registered } from "../support/people.ts";
import { everyObject, namesOfThoseWith } from "../support/stored-bytes.ts";

setDefaultTimeout(60_000);
afterAll(stopServer);

async function keyIn(place: Place, subject: string): Promise<Uint8Array> {
  await using objects = await openObjects(place.location, place.s3);
  const name = keyShardName(subject);
  const stored = await objects.get(name);
  const shard = decodeKeyShard(name, stored?.bytes ?? new Uint8Array());
  const key = [...shard.keys.values()].find((one) => one.subject === subject);
  return key?.wrapped ?? new Uint8Array();
}

describe("In storage", () => {
  for (const { name, available, create } of kinds) {
    test.skipIf(!available)(
      `there is no personal text at any time, and no key once it is destroyed, ${name}`,
      async () => {
        await using place = await create();
        const options = { url: place.url, s3: place.s3, events: [people], encryption };
        const all = Array.from({ length: 300 }, (_, index) => registered(`${index}`));
        let subject = "";
        {
          await using store = await openEventStore(options);
          await store.append("person-1", [registered("1")], { expectedVersion: 0 });
          // Enough for pages that are compressed, of the stream and of the log.
          await store.append("person-all", all, { expectedVersion: 0 });
          for (const id of ["2", "3"]) await store.append(`person-${id}`, [registered(id)], { expectedVersion: 0 });
          const [event] = await collect(store.readStream("person-1"));
          subject = event?.personal?.subject ?? "";
        }
        const wrapped = await keyIn(place, subject);
        expect(wrapped.length).toBeGreaterThan(32);
        const before = await everyObject(place);
        // What can be found is found: the scan would see the text if it were there.
        expect(namesOfThoseWith(before, "Berlin").length).toBeGreaterThan(0);
        expect(namesOfThoseWith(before, wrapped)).toEqual([keyShardName(subject)]);
        for (const text of ["Xylophon", "Zitronengasse", masterKey, Buffer.from(masterKey, "base64"), 'person:1"'])
          expect(namesOfThoseWith(before, text)).toEqual([]);
        {
          await using store = await openEventStore(options);
          expect(await store.forget("person:1")).toMatchObject({ events: 2, streams: 2 });
          // The keys are gone as soon as it resolves, while the store is open.
          expect(namesOfThoseWith(await everyObject(place), wrapped)).toEqual([]);
        }
        const after = await everyObject(place);
        expect(namesOfThoseWith(after, "Berlin").length).toBeGreaterThan(0);
        for (const gone of [wrapped, "Xylophon", "Zitronengasse"]) expect(namesOfThoseWith(after, gone)).toEqual([]);
        // No drafts or copies of key objects are left beside them.
        const folders = after
          .map((one) => one.name)
          .filter((one) => !one.startsWith("db/") && !one.startsWith("keys/"));
        expect(folders.filter((one) => !["lease.json", ".strata.lock"].includes(one))).toEqual([]);
        await using store = await openEventStore(options);
        const events = await collect(store.readAll({ filter: { types: ["Registered"] } }));
        const erased = events.filter(({ personal }) => personal?.erased === "forgotten");
        expect(erased.map(({ data }) => (data as { id: string }).id)).toEqual(["1", "1"]);
        expect(events.length).toBe(303);
      },
    );
  }
});
