/** Which fields can be personal, what is refused, and what of an event stays readable for whom. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import * as v from "valibot";
import { decodeEvent, encodeEvent, readHeader } from "../../src/format/envelope.ts";
import { decodeErasure } from "../../src/format/erasure-record.ts";
import { erasureKey } from "../../src/format/key-families.ts";
import { decodeKeyRecord } from "../../src/format/key-record.ts";
import {
  decodeKeyShard,
  emptyKeyShard,
  encodeKeyShard,
  keyShardCount,
  keyShardName,
} from "../../src/format/key-shard.ts";
import {
  defineEvents,
  type EventDefinitions,
  event,
  InvalidEventError,
  localKeyService,
  openEventStore,
  type RecordedEvent,
  split,
} from "../../src/index.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import { KeyWrapping } from "../../src/privacy/key-wrapping.ts";
import { SubjectKeys } from "../../src/privacy/subject-keys.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { checkPersonalFields, putFields, takeFields, tellingTag } from "../../src/schema/personal-data.ts";
import { collect, errorOf } from "../support/collect.ts";
import { encryption, masterKey, peopleStorage, registered } from "../support/people.ts";
import { personalSamples } from "../support/personal-samples.ts";

setDefaultTimeout(60_000);

const anything = v.record(v.string(), v.unknown());

/** A store whose one type has these personal fields. */
async function storeOf(fields: readonly string[], tags: (data: Record<string, unknown>) => string[] = () => []) {
  const own = defineEvents("note", {
    Noted: event({ schema: anything, tags, personal: { subject: () => "someone", fields } }),
  });
  return await openEventStore({
    url: "memory:",
    events: [own] as readonly EventDefinitions[] as readonly never[],
    encryption,
  });
}

async function readBack(fields: readonly string[], data: unknown): Promise<RecordedEvent> {
  await using store = await storeOf(fields);
  await store.append("note-1", [{ type: "Noted", data }], { expectedVersion: 0 });
  const [found] = await collect(store.readStream("note-1"));
  if (found === undefined) throw new Error("unreachable");
  return found;
}

describe("A definition", () => {
  for (const [what, personal, schema = anything] of [
    ["no fields", { subject: () => "x", fields: [] }],
    ["no list of fields", { subject: () => "x", fields: "name" }],
    ["an empty path", { subject: () => "x", fields: [""] }],
    ["a path with an empty member", { subject: () => "x", fields: ["a..b"] }],
    ["a path to what is no member", { subject: () => "x", fields: ["a.__proto__"] }],
    ["a path twice", { subject: () => "x", fields: ["a", "a"] }],
    ["a path within another", { subject: () => "x", fields: ["a.b", "a"] }],
    ["no subject", { fields: ["a"] }],
    ["a member that its schema has not", { subject: () => "x", fields: ["nmae"] }, v.object({ name: v.string() })],
    [
      "a member that an object within its schema has not",
      { subject: () => "x", fields: ["address.stret"] },
      v.object({ address: v.optional(v.strictObject({ street: v.string() })) }),
    ],
  ] as const) {
    test(`with ${what} is refused when it is made`, async () => {
      const error = await errorOf(() => event({ schema, personal: personal as never }));
      expect(error.code).toBe("invalid-argument");
      expect(error.message).toContain("event.personal");
    });
  }

  for (const [what, schema] of [
    ["others may be there", v.looseObject({ name: v.string() })],
    [
      "a transformation makes it",
      v.pipe(
        v.object({ name: v.string() }),
        v.transform(({ name }) => ({ name, nick: name })),
      ),
    ],
    ["it is of a union", v.union([v.object({ nick: v.string() }), v.object({ name: v.string() })])],
    ["it is of an intersection", v.intersect([v.object({ nick: v.string() }), v.object({ name: v.string() })])],
  ] as const) {
    test(`may name a member that its schema does not show, because ${what}`, () => {
      const defined = event({
        schema: schema as unknown as typeof anything,
        personal: { subject: () => "x", fields: ["nick"] },
      });
      expect(defined.personal?.fields.map(({ path }) => path)).toEqual(["nick"]);
    });
  }
});

describe("An append", () => {
  const refused = async (
    fields: readonly string[],
    data: unknown,
    tags: readonly string[] = [],
  ): Promise<InvalidEventError> => {
    await using store = await storeOf(fields);
    const error = await errorOf(store.append("note-1", [{ type: "Noted", data, tags }], { expectedVersion: 0 }));
    expect(error).toBeInstanceOf(InvalidEventError);
    expect(await store.lastPosition()).toBe(0);
    return error as InvalidEventError;
  };

  test("is refused where a path leads through a list, or what is no object", async () => {
    for (const people of [[{ name: "Kim" }], "Kim", 7, new Map([["name", "Kim"]])]) {
      const { issues } = await refused(["people.name"], { people });
      expect(issues[0]?.path).toBe("data.people.name");
    }
  });

  test("is refused where a tag gives a personal value away", async () => {
    for (const tag of ["Kim Possible", "name:kim possible", "x-KIM POSSIBLE-y"]) {
      const { issues } = await refused(["name"], { name: "Kim Possible" }, [tag]);
      expect(issues[0]).toMatchObject({ path: "tags.0" });
    }
    expect((await refused(["who"], { who: [{ name: "Bo" }] }, ["name:bo"])).issues[0]?.path).toBe("tags.0");
    expect((await refused(["name"], { name: "Kim" }, ["$subject:00"])).issues[0]?.path).toBe("tags.0");
    // A short text somewhere within a tag is no sign of anything.
    expect(tellingTag(["plan:gold", "person:17"], { name: "ol", age: "7" })).toBeUndefined();
  });

  test("is refused where its subject is no name", async () => {
    for (const subject of ["", 7, undefined, "x".repeat(513)]) {
      const own = defineEvents("note", {
        Noted: event({ schema: anything, personal: { subject: () => subject as string, fields: ["name"] } }),
      });
      await using store = await openEventStore({ url: "memory:", events: [own], encryption });
      const error = await errorOf(
        store.append("note-1", [{ type: "Noted", data: { name: "Kim" } }], { expectedVersion: 0 }),
      );
      expect(error).toMatchObject({ code: "invalid-event" });
      expect(error.message).toContain("personal.subject");
    }
  });

  test("stores what the data was, though its caller changes it at once", async () => {
    await using store = await storeOf(["name"]);
    const data = { name: "Kim" };
    const appending = store.append("note-1", [{ type: "Noted", data }], { expectedVersion: 0 });
    data.name = "changed";
    await appending;
    expect((await collect(store.readAll()))[0]?.data).toEqual({ name: "Kim" });
  });

  test("repeated with the same ids answers the first result, whatever the nonce", async () => {
    await using store = await storeOf(["name"]);
    const given = [{ type: "Noted", id: "one", data: { name: "Kim" } }];
    const first = await store.append("note-1", given, { expectedVersion: 0 });
    expect(await store.append("note-1", given, { expectedVersion: 0 })).toMatchObject({ ...first, replayed: true });
  });
});

describe("A field", () => {
  test("may be anything that an event may hold, and stays absent where it is", async () => {
    const values = [
      null,
      0,
      false,
      "",
      "é\u0000",
      [],
      { a: [1, { b: null }] },
      new Date(7),
      12n,
      new Uint8Array([1, 2]),
      new Map([[1, "x"]]),
      new Set(["y"]),
    ];
    for (const value of values) {
      const found = await readBack(["secret", "deep.er", "missing.path"], { secret: value, open: 1 });
      expect<unknown>(found.data).toEqual({ secret: value, open: 1 });
      expect(found.personal?.fields).toEqual(["secret"]);
    }
    const none = await readBack(["secret", "deep.er"], { open: 1, deep: { other: 2 } });
    expect<unknown>(none.data).toEqual({ open: 1, deep: { other: 2 } });
    expect(none.personal?.fields).toEqual([]);
  });

  test("is put back where it was, whatever the data", () => {
    const fields = checkPersonalFields(["a", "b.c", "b.d.e"]);
    const leaf = fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.array(fc.string()));
    const data = fc.record(
      {
        a: fc.oneof(leaf, fc.record({ x: leaf })),
        b: fc.oneof(
          fc.constant(null),
          fc.record(
            { c: leaf, d: fc.record({ e: leaf, f: leaf }, { requiredKeys: [] }), g: leaf },
            { requiredKeys: [] },
          ),
        ),
        z: leaf,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(data, (given) => {
        const before = structuredClone(given);
        const taken = takeFields(given, fields);
        if ("issues" in taken) throw new Error("unreachable");
        expect(given).toEqual(before);
        for (const path of Object.keys(taken.values)) {
          const at = path
            .split(".")
            .reduce<unknown>((value, member) => (value as Record<string, unknown>)[member], taken.data);
          expect(at).toBeNull();
        }
        const rest = structuredClone(taken.data);
        putFields(rest, taken.values);
        expect<unknown>(rest).toEqual(before);
      }),
    );
  });

  test("is decrypted before it is upcast and split, and upcasters see null once it is forgotten", async () => {
    const storage = peopleStorage();
    {
      const { store } = await storage.open();
      await store.append("person-1", [registered("1", "Kim Possible")], { expectedVersion: 0 });
      await store.close();
    }
    const seen: unknown[] = [];
    const schema = v.object({ first: v.nullable(v.string()) });
    const today = defineEvents("person", {
      Registered: event({
        version: 2,
        schema,
        upcast: {
          1: (old) => {
            seen.push(old.name);
            const first = old.name === null ? null : old.name.split(" ")[0];
            return split([
              { type: "Registered", data: { first } },
              { type: "PlanChanged", data: { plan: old.plan } },
            ]);
          },
        },
        splitsInto: ["Registered", "PlanChanged"],
      }),
      PlanChanged: event({ schema: v.object({ plan: v.string() }) }),
    });
    const { store } = await storage.open({ events: [today] as never });
    const read = async (): Promise<unknown[]> => (await collect(store.readStream("person-1"))).map(({ data }) => data);
    expect(await read()).toEqual([{ first: "Kim" }, { plan: "basic" }]);
    await store.forget("person:1");
    expect(await read()).toEqual([{ first: null }, { plan: "basic" }]);
    expect(seen).toEqual(["Kim Possible", null]);
    const parts = await collect(store.readStream("person-1"));
    expect(parts.map(({ personal }) => personal?.erased)).toEqual(["forgotten", "forgotten"]);
    await store.close();
  });
});

describe("A box", () => {
  async function keys(
    objects = openMemoryObjects(systemClock),
    clock = systemClock,
    recheckMs = 1_000,
  ): Promise<SubjectKeys> {
    const wrapping = new KeyWrapping(localKeyService(masterKey), "store");
    return new SubjectKeys({
      objects,
      wrapping,
      storeId: "store",
      secret: Buffer.alloc(32, 1),
      clock,
      random: { next: () => 0.5 },
      recheckMs,
    });
  }

  /** An event with a sealed content, as the registry makes them. */
  async function sealed(cipher: SubjectKeys, subject: string, id: string) {
    const { emptySealedFields } = await import("../../src/format/sealed-fields.ts");
    const hash = cipher.hashOf(subject);
    const content = Buffer.from("the content");
    const bytes = encodeEvent({
      ...{
        id,
        idGiven: false,
        type: "T",
        schemaVersion: 1,
        tags: [],
        occurredAtMs: undefined,
        metadata: {},
        data: null,
      },
      sealed: emptySealedFields(Buffer.from(hash, "hex"), ["name"], content.length),
    });
    if ("issues" in bytes) throw new Error("unreachable");
    const fields = readHeader(bytes).sealed;
    const key = (await cipher.provide(new Set([hash]))).get(hash);
    if (fields === undefined || key === undefined) throw new Error("unreachable");
    cipher.seal(key, { streamName: "s-1", eventId: id }, bytes, fields, content);
    return { hash, stored: { streamName: "s-1", version: 1, position: 1, bytes } };
  }

  function open(cipher: SubjectKeys, stored: { streamName: string; version: number; position: number; bytes: Buffer }) {
    const decoded = decodeEvent(stored);
    if (decoded.sealed === undefined) throw new Error("unreachable");
    return cipher.open(stored, decoded.id, decoded.sealed);
  }

  test("opens where it was sealed, and nowhere else", async () => {
    const cipher = await keys();
    const { stored } = await sealed(cipher, "kim", "event-1");
    expect(open(cipher, stored)).toMatchObject({ kind: "open", content: Buffer.from("the content") });
    expect(open(cipher, { ...stored, streamName: "s-2" }).kind).toBe("lost");
    // Another event of the same subject, with this one's box in its place.
    const other = await sealed(cipher, "kim", "event-2");
    const [from, to] = [readHeader(stored.bytes).sealed?.box, readHeader(other.stored.bytes).sealed?.box];
    if (from === undefined || to === undefined) throw new Error("unreachable");
    to.set(from);
    expect(open(cipher, other.stored).kind).toBe("lost");
    for (let at = 0; at < from.length; at += 1) {
      const bytes = Buffer.from(stored.bytes);
      const box = readHeader(bytes).sealed?.box;
      if (box === undefined) throw new Error("unreachable");
      box[at] = (box[at] ?? 0) ^ 0x10;
      expect(open(cipher, { ...stored, bytes }).kind).toBe("lost");
    }
  });

  test("is closed in another process within two intervals of looking, though nobody tells it", async () => {
    const objects = openMemoryObjects(systemClock);
    let nowMs = 0;
    const clock = { now: () => nowMs, monotonic: () => nowMs };
    const writer = await keys(objects, clock);
    const { hash, stored } = await sealed(writer, "kim", "event-1");
    const reader = await keys(objects, clock, 1_000);
    let told = 0;
    reader.whenFoundDestroyed(() => {
      told += 1;
    });
    const read = async (): Promise<string> => {
      await reader.fetch([stored]);
      return open(reader, stored).kind;
    };
    expect(await read()).toBe("open");
    nowMs += 900;
    await writer.destroy(hash, 5);
    expect(await read()).toBe("open");
    nowMs += 1_100;
    expect(await read()).toBe("forgotten");
    expect(open(reader, stored)).toEqual({ kind: "forgotten", atMs: 5 });
    expect(await read()).toBe("forgotten");
    // What was decoded with it is to be dropped, once.
    expect(told).toBe(1);
  });
});

describe("Format 1 of what personal data leaves in storage", () => {
  test("is written and read by today's code", async () => {
    const stored: Record<string, string> = await Bun.file(join(import.meta.dir, "../fixtures/personal-1.json")).json();
    expect(personalSamples()).toEqual(stored);
    const bytes = (name: string): Buffer => Buffer.from(stored[name] ?? "", "hex");
    const decoded = decodeEvent({ streamName: "person-1", version: 1, position: 1, bytes: bytes("event") });
    expect(decoded.data).toEqual({ id: "1", name: null });
    expect(decoded.metadata).toEqual({ actor: "kim" });
    expect(decoded.sealed?.paths).toEqual(["name", "address.street"]);
    expect(Buffer.from(decoded.sealed?.keyId ?? []).toString("hex")).toBe("0123456789abcdef");
    expect(decoded.sealed?.box.length).toBe(48);
    const shard = decodeKeyShard("keys/133", bytes("shard"));
    expect([...shard.keys.keys(), ...shard.forgotten.keys()]).toEqual(["0123456789abcdef", "fedcba9876543210"]);
    expect(decodeKeyRecord(bytes("record"))).toMatchObject({ storeId: "store", masterKeyId: "kms/1" });
    const key = erasureKey("00112233445566778899aabbccddeeff");
    expect(decodeErasure(key, bytes("erasure")).sinceMs).toBe(Date.UTC(2026, 0, 31, 12, 30));
  });

  test("is refused where a newer version wrote it", () => {
    const event = Buffer.from(personalSamples().event ?? "", "hex");
    const header = readHeader(event);
    const at = event.indexOf(Buffer.from(header.sealed?.subject ?? [])) - 1;
    event[at] = 2;
    const stored = { streamName: "person-1", version: 1, position: 1, bytes: event };
    expect(() => decodeEvent(stored)).toThrow("cannot be read");
    expect(() => readHeader(event)).toThrow("newer version of Strata");
  });
});

describe("Key objects", () => {
  test("are read as they were written, and damage is found", () => {
    const hex = (length: number) =>
      fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Buffer.from(bytes).toString("hex"));
    const name = fc.record({ subject: hex(16), id: hex(8) });
    const time = fc.integer({ min: 0, max: 2 ** 47 });
    const key = fc.tuple(
      name,
      time,
      fc.uint8Array({ minLength: 1, maxLength: 80 }),
      fc.constantFrom("local:1", "kms/é"),
    );
    fc.assert(
      fc.property(fc.array(key), fc.array(fc.tuple(name, time)), fc.nat(), (keys, gone, at) => {
        const shard = {
          keys: new Map(
            keys.map(([one, createdAtMs, wrapped, masterKeyId]) => [
              one.id,
              { ...one, createdAtMs, wrapped, masterKeyId },
            ]),
          ),
          forgotten: new Map(gone.map(([one, forgottenAtMs]) => [one.id, { ...one, forgottenAtMs }])),
        };
        const bytes = encodeKeyShard("keys/001", shard);
        expect(decodeKeyShard("keys/001", bytes)).toEqual(shard);
        expect(() => decodeKeyShard("keys/002", bytes)).toThrow();
        bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ 4;
        expect(() => decodeKeyShard("keys/001", bytes)).toThrow();
      }),
    );
    expect(decodeKeyShard("keys/001", encodeKeyShard("keys/001", emptyKeyShard))).toEqual(emptyKeyShard);
  });

  test("have frozen names: a subject's hash says where its keys are", () => {
    expect(keyShardCount).toBe(1_024);
    expect(keyShardName("000004ff000000000000000000000000")).toBe("keys/0ff");
    expect(keyShardName("ffffffff000000000000000000000000")).toBe("keys/3ff");
  });
});
