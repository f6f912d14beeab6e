/**
 * A process that throws and catches while the engine's threads wake its calls. Tells, as JSON, how many calls it made and how many of
 * them did not end as they must. Where exceptions get lost it may as well die.
 */

import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";

const workMs = Number(process.argv[2]);
const workers = 32;
const rowCount = 1_000;

const memory = { kind: "memory", url: "memory:" } as const;
await using kv = await openSlateKv({ location: memory, s3: {}, clock: systemClock, readCache: 0 });
const keyOf = (row: number): Uint8Array => Buffer.from(`key-${rowCount + (row % rowCount)}`);
await kv.write(
  Array.from({ length: rowCount }, (_, row) => ({ kind: "put", key: keyOf(row), value: new Uint8Array(8) })),
);

let calls = 0;
let wrong = 0;
process.on("unhandledRejection", () => {
  wrong += 1;
});

async function askEngine(turn: number): Promise<void> {
  switch (turn % 4) {
    case 0:
      return Bun.sleep(Math.random() * 3);
    case 1: {
      const cursor = await kv.scan({ start: keyOf(turn % 900), end: keyOf((turn % 900) + 3) }, "settled");
      await cursor.next(8);
      return cursor.close();
    }
    case 2:
      await kv.get(keyOf(turn));
      return;
    default:
      if (turn % 100 < 4) await kv.write([{ kind: "put", key: keyOf(turn), value: new Uint8Array(8) }]);
  }
}

/** Two of three throw: one of these what it caught, the other something else. */
async function call(turn: number): Promise<number> {
  const ask = async (): Promise<number> => {
    await askEngine(turn);
    if (turn % 3 !== 0) throw new Error(`Inner ${turn}`);
    return turn;
  };
  try {
    return await ask();
  } catch (error) {
    if (turn % 3 === 1) throw error;
    throw new Error(`Outer ${turn}`, { cause: error });
  }
}

const expected = (turn: number): unknown => [turn, `Inner ${turn}`, `Outer ${turn}`][turn % 3];

async function worker(endMs: number): Promise<void> {
  while (performance.now() < endMs) {
    calls += 1;
    const turn = calls;
    const found: unknown = await call(turn).catch((error: unknown) => (error instanceof Error ? error.message : error));
    if (found !== expected(turn)) wrong += 1;
  }
}

const endMs = performance.now() + workMs;
await Promise.all(Array.from({ length: workers }, () => worker(endMs)));
console.log(JSON.stringify({ calls, wrong }));
