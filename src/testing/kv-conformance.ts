/**
 * What every byte store must do, as a suite over a factory and what it can do. It brings no test runner: hand in yours.
 * Keys and values are bytes; no test rests on the time a call takes.
 */

import { EventStoreError, type EventStoreErrorCode } from "../errors.ts";
import type { KeyValueStore, KvCursor, KvOperation, KvRange, KvReader, KvRow } from "../kv/kv.ts";

/** The part of a test runner that the suite needs; `bun:test`, Vitest and Jest have it. */
export interface ConformanceRunner {
  readonly describe: (name: string, body: () => void) => void;
  readonly test: (name: string, body: () => Promise<void>) => void;
  readonly expect: (actual: unknown) => {
    toBe(expected: unknown): void;
    toEqual(expected: unknown): void;
  };
}

/** One place that holds one store. */
export interface KvPlace {
  /** Opens it for writing; where it is open already, that is another writer. */
  open(): Promise<KeyValueStore>;
  /** Takes away what is stored there, after all stores are closed. */
  remove(): Promise<void>;
}

/** What a kind of store can do; the suite asks no more of it. */
export interface KvCapabilities {
  /** What is written is there at the next open of the same place. */
  readonly persists: boolean;
  /** A second open of the same place fences the first. */
  readonly fences: boolean;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value);
}

function put(key: string, value: string): KvOperation {
  return { kind: "put", key: bytes(key), value: bytes(value) };
}

function remove(key: string): KvOperation {
  return { kind: "delete", key: bytes(key) };
}

function numbered(index: number): string {
  return `k${String(index).padStart(6, "0")}`;
}

function range(start: string, end?: string): KvRange {
  return end === undefined ? { start: bytes(start) } : { start: bytes(start), end: bytes(end) };
}

function keysOf(rows: readonly KvRow[]): readonly (string | undefined)[] {
  return rows.map((row) => text(row.key));
}

async function drain(cursor: KvCursor, rowsMax = 1_000): Promise<readonly KvRow[]> {
  const all: KvRow[] = [];
  for (let rows = await cursor.next(rowsMax); rows.length > 0; rows = await cursor.next(rowsMax)) all.push(...rows);
  cursor.close();
  return all;
}

async function lookUp(reader: KvReader, span: KvRange): Promise<readonly KvRow[]> {
  return await drain(await reader.scan(span, "lookup"));
}

/** The rows, while nothing is written: all purposes have the same, from wherever they come; the second time from memory. */
async function rowsOf(reader: KvReader, span: KvRange): Promise<readonly KvRow[]> {
  const rows = await lookUp(reader, span);
  for (const purpose of ["replay", "settled", "settled"] as const) {
    const others = await drain(await reader.scan(span, purpose));
    const same = others.length === rows.length && others.every((row, index) => sameRow(row, rows[index]));
    if (!same) throw new Error(`A scan for ${purpose} has other rows than one for lookup`);
  }
  return rows;
}

function sameRow(row: KvRow, other: KvRow | undefined): boolean {
  if (other === undefined || Buffer.compare(row.key, other.key) !== 0) return false;
  return Buffer.compare(row.value, other.value) === 0;
}

/** The error that `work` ends with, as what a caller can tell of it. */
async function failureOf(work: () => Promise<unknown>): Promise<Pick<EventStoreError, "code" | "outcome"> | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof EventStoreError) return { code: error.code, outcome: error.outcome };
    throw error;
  }
}

/** Declares the suite for the stores that `createPlace` makes. */
export function testKeyValueStore(
  name: string,
  createPlace: () => Promise<KvPlace>,
  capabilities: KvCapabilities,
  runner: ConformanceRunner,
): void {
  const withPlace = async (body: (place: KvPlace) => Promise<void>): Promise<void> => {
    const place = await createPlace();
    try {
      await body(place);
    } finally {
      await place.remove();
    }
  };
  /** Runs `body` on a new, empty store. */
  const withStore = (body: (kv: KeyValueStore) => Promise<void>): Promise<void> =>
    withPlace(async (place) => {
      const kv = await place.open();
      try {
        await body(kv);
      } finally {
        await kv.close();
      }
    });
  const suite: Suite = { ...runner, withPlace, withStore };
  runner.describe(`A byte store on ${name}`, () => {
    testWrites(suite);
    testReads(suite);
    testBytes(suite);
    testScans(suite);
    testSeeks(suite);
    testSnapshots(suite);
    testClosing(suite);
    if (capabilities.persists) testReopening(suite);
    if (capabilities.fences) testFencing(suite);
  });
}

interface Suite extends ConformanceRunner {
  readonly withPlace: (body: (place: KvPlace) => Promise<void>) => Promise<void>;
  readonly withStore: (body: (kv: KeyValueStore) => Promise<void>) => Promise<void>;
}

function testWrites({ test, expect, withStore }: Suite): void {
  test("applies the operations of a batch in order, so that the last one for a key wins", () =>
    withStore(async (kv) => {
      await kv.write([
        put("a", "1"),
        remove("a"),
        put("b", "1"),
        put("b", "2"),
        remove("c"),
        put("c", "1"),
        put("d", "1"),
      ]);
      await kv.write([remove("d"), put("a", "2"), remove("a")]);
      const values = await kv.getMany(["a", "b", "c", "d"].map(bytes));
      expect(values.map(text)).toEqual([undefined, "2", "1", undefined]);
    }));

  test("applies nothing of a batch that holds a key which cannot be kept", () =>
    withStore(async (kv) => {
      for (const key of [new Uint8Array(0), new Uint8Array(65_536)]) {
        const work = (): Promise<void> => kv.write([put("a", "1"), { kind: "put", key, value: bytes("v") }]);
        expect(await failureOf(work)).toEqual({ code: "internal", outcome: "not-applied" });
      }
      expect(await kv.get(bytes("a"))).toBe(undefined);
      expect(kv.status()).toEqual({ state: "open" });
    }));

  test("takes a batch of no operations, and the removal of a key that is not there", () =>
    withStore(async (kv) => {
      await kv.write([]);
      await kv.write([remove("absent")]);
      expect(await rowsOf(kv, range("a"))).toEqual([]);
    }));

  test("shows all rows of a batch or none", () =>
    withStore(async (kv) => {
      const keys = Array.from({ length: 50 }, (_, index) => numbered(index));
      let written = false;
      const writing = kv.write(keys.map((key) => put(key, "v"))).then(() => {
        written = true;
      });
      for (let last = false; !last; ) {
        last = written;
        const found = (await lookUp(kv, range("k"))).length;
        expect([0, keys.length].includes(found)).toBe(true);
        if (last) expect(found).toBe(keys.length);
      }
      await writing;
    }));

  test("counts what it did", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "12345"), put("b", "")]);
      await kv.write([remove("a")]);
      await kv.getMany([bytes("a"), bytes("b")]);
      await lookUp(kv, range("a"));
      const { writes, rowsWritten, bytesWritten, gets, scans, rowsScanned } = kv.stats();
      const expected = { writes: 2, rowsWritten: 3, bytesWritten: 8, gets: 2, scans: 1, rowsScanned: 1 };
      expect({ writes, rowsWritten, bytesWritten, gets, scans, rowsScanned }).toEqual(expected);
    }));
}

function testReads({ test, expect, withStore }: Suite): void {
  test("tells an empty value from an absent one", () =>
    withStore(async (kv) => {
      await kv.write([put("empty", "")]);
      expect((await kv.get(bytes("empty")))?.length).toBe(0);
      expect(await kv.get(bytes("absent"))).toBe(undefined);
    }));

  test("answers many keys in the order they were asked for, repeated ones included", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "1"), put("b", "2"), put("c", "3")]);
      const values = await kv.getMany(["c", "absent", "a", "c", "b"].map(bytes));
      expect(values.map(text)).toEqual(["3", undefined, "1", "3", "2"]);
      expect(await kv.getMany([])).toEqual([]);
    }));

  test("answers a thousand keys at once", () =>
    withStore(async (kv) => {
      const keys = Array.from({ length: 1_000 }, (_, index) => numbered(index));
      await kv.write(keys.map((key) => put(key, `v${key}`)));
      const values = await kv.getMany(keys.map(bytes));
      expect(values.map(text)).toEqual(keys.map((key) => `v${key}`));
    }));

  test("refuses to look for a key that cannot be kept", () =>
    withStore(async (kv) => {
      for (const key of [new Uint8Array(0), new Uint8Array(65_536)]) {
        expect((await failureOf(() => kv.get(key)))?.code).toBe("internal");
        expect((await failureOf(() => kv.getMany([bytes("a"), key])))?.code).toBe("internal");
      }
      expect(kv.status()).toEqual({ state: "open" });
    }));
}

function testBytes({ test, expect, withStore }: Suite): void {
  test("sorts keys as unsigned bytes, a shorter key before those it begins", () =>
    withStore(async (kv) => {
      const sorted = [
        [0x00],
        [0x00, 0x00],
        [0x00, 0xff],
        [0x01],
        [0x7f, 0xff],
        [0x80],
        [0xfe],
        [0xff],
        [0xff, 0x00],
        [0xff, 0xff],
      ];
      const shuffled = [7, 2, 9, 0, 5, 3, 8, 1, 6, 4].map((at) => sorted[at] ?? []);
      await kv.write(
        shuffled.map((key): KvOperation => ({ kind: "put", key: Uint8Array.from(key), value: bytes("v") })),
      );
      const all = await rowsOf(kv, { start: Uint8Array.of(0x00) });
      expect(all.map((row) => [...row.key])).toEqual(sorted);
      const some = await rowsOf(kv, { start: Uint8Array.of(0x00, 0x01), end: Uint8Array.of(0xff) });
      expect(some.map((row) => [...row.key])).toEqual(sorted.slice(2, 7));
    }));

  test("keeps every byte of keys and values", () =>
    withStore(async (kv) => {
      const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      await kv.write([{ kind: "put", key: every, value: every }]);
      expect([...((await kv.get(every)) ?? [])]).toEqual([...every]);
      const [row] = await rowsOf(kv, { start: Uint8Array.of(0) });
      expect([...(row?.key ?? [])]).toEqual([...every]);
      expect([...(row?.value ?? [])]).toEqual([...every]);
    }));

  test("keeps keys of 65,535 bytes and values of a mebibyte", () =>
    withStore(async (kv) => {
      const key = new Uint8Array(65_535).fill(7);
      const value = Uint8Array.from({ length: 1024 * 1024 }, (_, index) => (index * 31) & 0xff);
      await kv.write([{ kind: "put", key, value }, put("small", "v")]);
      expect(Buffer.compare((await kv.get(key)) ?? new Uint8Array(), value)).toBe(0);
      const [row] = await rowsOf(kv, { start: Uint8Array.of(7) });
      expect(Buffer.compare(row?.value ?? new Uint8Array(), value)).toBe(0);
    }));

  test("is not changed through the bytes that a caller gave or got", () =>
    withStore(async (kv) => {
      const key = bytes("key");
      const value = bytes("value");
      await kv.write([{ kind: "put", key, value }]);
      key.fill(0);
      value.fill(0);
      (await kv.get(bytes("key")))?.fill(1);
      for (const row of await rowsOf(kv, range("a"))) {
        row.key.fill(1);
        row.value.fill(1);
      }
      expect(text(await kv.get(bytes("key")))).toBe("value");
      expect(keysOf(await rowsOf(kv, range("a")))).toEqual(["key"]);
    }));

  test("takes keys and values that are parts of larger buffers", () =>
    withStore(async (kv) => {
      const buffer = bytes("..key..value..");
      await kv.write([{ kind: "put", key: buffer.subarray(2, 5), value: buffer.subarray(7, 12) }]);
      expect(text(await kv.get(bytes("xkeyx").subarray(1, 4)))).toBe("value");
    }));
}

/** The last one twice: what the first has read may be in memory. */
const purposes = ["replay", "lookup", "settled", "settled"] as const;

function testScans({ test, expect, withStore }: Suite): void {
  test("scans from the start, inclusive, to the end, exclusive", () =>
    withStore(async (kv) => {
      await kv.write(["a", "b", "c", "d", "e"].map((key) => put(key, key)));
      expect(keysOf(await rowsOf(kv, range("b", "d")))).toEqual(["b", "c"]);
      expect(keysOf(await rowsOf(kv, range("aa", "dd")))).toEqual(["b", "c", "d"]);
      expect(keysOf(await rowsOf(kv, range("c")))).toEqual(["c", "d", "e"]);
      expect(keysOf(await rowsOf(kv, range("f")))).toEqual([]);
    }));

  test("finds no rows in a range that ends where it starts, or before", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "1"), put("b", "2")]);
      for (const purpose of purposes) {
        for (const span of [range("a", "a"), range("b", "a")]) {
          const cursor = await kv.scan(span, purpose);
          expect(await cursor.next(10)).toEqual([]);
          cursor.close();
        }
      }
    }));

  test("hands out rows in batches of at most the asked size, and an empty one at the end, for good", () =>
    withStore(async (kv) => {
      await kv.write(Array.from({ length: 7 }, (_, index) => put(numbered(index), "v")));
      for (const purpose of purposes) {
        const cursor = await kv.scan(range("k"), purpose);
        const sizes: number[] = [];
        for (let turn = 0; turn < 5; turn += 1) sizes.push((await cursor.next(3)).length);
        expect(sizes.slice(0, 5).reduce((sum, size) => sum + size, 0)).toBe(7);
        expect(sizes.every((size) => size <= 3)).toBe(true);
        expect(await cursor.next(3)).toEqual([]);
        cursor.close();
      }
    }));

  test("skips what was removed, and shows the latest value of what was replaced", () =>
    withStore(async (kv) => {
      await kv.write(["a", "b", "c", "d"].map((key) => put(key, "1")));
      await kv.write([remove("b"), put("c", "2"), remove("d")]);
      const rows = await rowsOf(kv, range("a"));
      expect(rows.map((row) => [text(row.key), text(row.value)])).toEqual([
        ["a", "1"],
        ["c", "2"],
      ]);
    }));

  test("scans 10,000 rows of several batches in order, for every purpose", () =>
    withStore(async (kv) => {
      const count = 10_000;
      for (let from = 0; from < count; from += 2_500) {
        await kv.write(
          Array.from({ length: 2_500 }, (_, index) => put(numbered(((from + index) * 7) % count), "value")),
        );
      }
      const expected = Array.from({ length: count }, (_, index) => numbered(index));
      for (const purpose of purposes) {
        const rows = await drain(await kv.scan(range("k"), purpose), 777);
        expect(keysOf(rows)).toEqual(expected);
      }
    }));

  test("shows a cursor the rows as they were when it was opened", () =>
    withStore(async (kv) => {
      await kv.write(["a", "b", "c", "d"].map((key) => put(key, "1")));
      const cursor = await kv.scan(range("a"), "lookup");
      const [first] = await cursor.next(1);
      await kv.write([put("b", "2"), remove("c"), put("cc", "2"), put("e", "2")]);
      const rest = await drain(cursor);
      expect([first, ...rest].map((row) => [text(row?.key), text(row?.value)])).toEqual(
        ["a", "b", "c", "d"].map((key) => [key, "1"]),
      );
    }));

  test("lets several cursors go at their own pace", () =>
    withStore(async (kv) => {
      await kv.write(Array.from({ length: 20 }, (_, index) => put(numbered(index), "v")));
      const slow = await kv.scan(range("k"), "lookup");
      await slow.next(2);
      const fast = await kv.scan(range("k"), "replay");
      const [ofFast, ofSlow] = await Promise.all([drain(fast, 3), drain(slow, 4)]);
      expect([ofFast.length, ofSlow.length]).toEqual([20, 18]);
    }));

  test("gives no rows after a cursor was closed, however often", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "1"), put("b", "2")]);
      for (const purpose of purposes) {
        const cursor = await kv.scan(range("a"), purpose);
        await cursor.next(1);
        cursor.close();
        cursor.close();
        expect(await cursor.next(1)).toEqual([]);
        await cursor.seek(bytes("b"));
        expect(await cursor.next(1)).toEqual([]);
        cursor.close();
      }
    }));

  test("lets a cursor be closed while a call of it is under way", () =>
    withStore(async (kv) => {
      await kv.write(Array.from({ length: 500 }, (_, index) => put(numbered(index), "v")));
      for (let turn = 0; turn < 20; turn += 1) {
        const cursor = await kv.scan(range("k"), turn % 2 === 0 ? "lookup" : "settled");
        const pending = cursor.next(500);
        cursor.close();
        expect((await pending).length <= 500).toBe(true);
        expect(await cursor.next(1)).toEqual([]);
      }
      expect((await rowsOf(kv, range("k"))).length).toBe(500);
    }));
}

function testSeeks({ test, expect, withStore }: Suite): void {
  test("seeks forward to a key, or to the next one where it is absent", () =>
    withStore(async (kv) => {
      await kv.write(Array.from({ length: 10 }, (_, index) => put(numbered(index), "v")));
      for (const purpose of purposes) {
        const cursor = await kv.scan(range("k", numbered(9)), purpose);
        await cursor.seek(bytes(numbered(3)));
        expect(keysOf(await cursor.next(1))).toEqual([numbered(3)]);
        await cursor.seek(bytes(`${numbered(5)}-`));
        expect(keysOf(await cursor.next(2))).toEqual([numbered(6), numbered(7)]);
        await cursor.seek(bytes(`${numbered(8)}-`));
        expect(await cursor.next(1)).toEqual([]);
        cursor.close();
      }
    }));

  test("refuses to seek back to rows it has handed out, or out of its range", () =>
    withStore(async (kv) => {
      await kv.write(Array.from({ length: 10 }, (_, index) => put(numbered(index), "v")));
      for (const purpose of purposes) {
        for (const key of [numbered(1), numbered(3), numbered(9), "a"]) {
          const cursor = await kv.scan(range(numbered(2), numbered(9)), purpose);
          await cursor.next(2);
          expect((await failureOf(() => cursor.seek(bytes(key))))?.code).toBe("internal");
          cursor.close();
        }
      }
      expect(kv.status()).toEqual({ state: "open" });
    }));
}

function testSnapshots({ test, expect, withStore }: Suite): void {
  test("keeps a snapshot as it was, whatever is written afterwards", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "1"), put("b", "1")]);
      const snapshot = await kv.snapshot();
      await kv.write([put("a", "2"), remove("b"), put("c", "2")]);
      expect(text(await snapshot.get(bytes("a")))).toBe("1");
      expect((await snapshot.getMany(["b", "c"].map(bytes))).map(text)).toEqual(["1", undefined]);
      expect(keysOf(await rowsOf(snapshot, range("a")))).toEqual(["a", "b"]);
      expect(keysOf(await rowsOf(kv, range("a")))).toEqual(["a", "c"]);
      snapshot.close();
    }));

  test("keeps a snapshot that was taken during a write as it first showed itself", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "1")]);
      for (let turn = 0; turn < 20; turn += 1) {
        const writing = kv.write([put("a", `turn ${turn}`)]);
        const snapshot = await kv.snapshot();
        const first = text(await snapshot.get(bytes("a")));
        await writing;
        await kv.write([put("a", "later")]);
        expect(text(await snapshot.get(bytes("a")))).toBe(first);
        snapshot.close();
      }
    }));

  test("answers nothing from a closed snapshot, and closes it any number of times", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "1")]);
      const snapshot = await kv.snapshot();
      snapshot.close();
      snapshot.close();
      for (const work of readsOf(snapshot)) expect((await failureOf(work))?.code).toBe("store-closed");
      expect(text(await kv.get(bytes("a")))).toBe("1");
    }));

  test("lets a snapshot be closed while a call of it is under way", () =>
    withStore(async (kv) => {
      await kv.write([put("a", "1")]);
      for (let turn = 0; turn < 20; turn += 1) {
        const snapshot = await kv.snapshot();
        const pending = snapshot.get(bytes("a"));
        snapshot.close();
        expect(text(await pending)).toBe("1");
      }
    }));
}

function readsOf(reader: KvReader): readonly (() => Promise<unknown>)[] {
  return [
    () => reader.get(bytes("a")),
    () => reader.getMany([bytes("a")]),
    () => reader.scan(range("a"), "lookup"),
    () => reader.scan(range("a"), "replay"),
    () => reader.scan(range("a"), "settled"),
  ];
}

const closedWrite: { code: EventStoreErrorCode; outcome: string } = { code: "store-closed", outcome: "not-applied" };

function testClosing({ test, expect, withPlace }: Suite): void {
  test("answers every call with store-closed once it is closing, and after", () =>
    withPlace(async (place) => {
      const kv = await place.open();
      await kv.write([put("a", "1"), put("b", "2")]);
      const snapshot = await kv.snapshot();
      const cursor = await kv.scan(range("a"), "lookup");
      const calls = [
        ...readsOf(kv),
        ...readsOf(snapshot),
        () => kv.snapshot(),
        () => cursor.next(1),
        () => cursor.seek(bytes("b")),
      ];
      const closing = kv.close();
      for (let round = 0; round < 2; round += 1) {
        for (const call of calls) expect((await failureOf(call))?.code).toBe("store-closed");
        expect(await failureOf(() => kv.write([put("a", "2")]))).toEqual(closedWrite);
        expect(kv.status()).toEqual({ state: "closed" });
        await closing;
      }
      cursor.close();
      snapshot.close();
    }));

  test("closes any number of times, at once and later", () =>
    withPlace(async (place) => {
      const kv = await place.open();
      await Promise.all([kv.close(), kv.close()]);
      await kv.close();
      await kv[Symbol.asyncDispose]();
      expect(kv.status()).toEqual({ state: "closed" });
    }));

  test("settles what is under way when it is closed: done, or store-closed", () =>
    withPlace(async (place) => {
      const kv = await place.open();
      await kv.write(Array.from({ length: 200 }, (_, index) => put(numbered(index), "v")));
      const cursor = await kv.scan(range("k"), "lookup");
      const calls = [() => kv.write([put("late", "1")]), () => kv.get(bytes("late")), () => cursor.next(200)];
      const pending = [...calls, () => kv.snapshot(), ...readsOf(kv)].map(failureOf);
      const closing = kv.close();
      for (const failure of await Promise.all(pending)) {
        expect(failure === undefined || failure.code === "store-closed").toBe(true);
      }
      await closing;
      expect(kv.status()).toEqual({ state: "closed" });
    }));
}

function testReopening({ test, expect, withPlace }: Suite): void {
  test("has what was written at the next open", () =>
    withPlace(async (place) => {
      const first = await place.open();
      await first.write([put("a", "1"), put("b", ""), put("c", "3")]);
      await first.write([remove("c"), put("a", "2")]);
      await first.close();
      for (let turn = 0; turn < 3; turn += 1) {
        const next = await place.open();
        expect((await next.getMany(["a", "b", "c"].map(bytes))).map(text)).toEqual(["2", "", undefined]);
        expect(keysOf(await rowsOf(next, range("a")))).toEqual(turn === 0 ? ["a", "b"] : ["a", "b", "turn"]);
        await next.write([put("turn", `${turn}`)]);
        await next.close();
      }
    }));

  test("has a write that was acknowledged while it was closing", () =>
    withPlace(async (place) => {
      const first = await place.open();
      const writing = failureOf(() => first.write([put("late", "1")]));
      await first.close();
      const failure = await writing;
      const second = await place.open();
      const found = text(await second.get(bytes("late")));
      if (failure === undefined) expect(found).toBe("1");
      else expect(failure).toEqual({ code: "store-closed", outcome: "unknown" });
      await second.close();
    }));
}

function testFencing({ test, expect, withPlace }: Suite): void {
  test("fences the earlier writer when it is opened again, without losing what that one acknowledged", () =>
    withPlace(async (place) => {
      const first = await place.open();
      await first.write([put("a", "1")]);
      const second = await place.open();
      const failure = await failureOf(() => first.write([put("a", "lost")]));
      expect(failure?.code).toBe("writer-fenced");
      expect(["not-applied", "unknown"].includes(failure?.outcome ?? "")).toBe(true);
      expect(first.status().state).toBe("fenced");
      expect(await failureOf(() => first.write([put("b", "lost")]))).toEqual({
        code: "writer-fenced",
        outcome: "not-applied",
      });
      expect((await failureOf(() => first.get(bytes("a"))))?.code).toBe("writer-fenced");
      expect((await failureOf(() => first.snapshot()))?.code).toBe("writer-fenced");
      expect(text(await second.get(bytes("a")))).toBe("1");
      await second.write([put("b", "2")]);
      await first.close();
      expect(first.status().state).toBe("closed");
      expect(keysOf(await rowsOf(second, range("a")))).toEqual(["a", "b"]);
      expect(second.status()).toEqual({ state: "open" });
      await second.close();
    }));

  test("lets a fenced writer that has not noticed yet close in peace", () =>
    withPlace(async (place) => {
      const first = await place.open();
      await first.write([put("a", "1")]);
      const second = await place.open();
      await first.close();
      await second.write([put("b", "2")]);
      await second.close();
      const third = await place.open();
      expect(keysOf(await rowsOf(third, range("a")))).toEqual(["a", "b"]);
      await third.close();
    }));
}
