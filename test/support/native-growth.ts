/** A process that makes many calls of the engine, and tells how many bytes of native memory each has left behind: of a `get`, and of a scan, as JSON. */

import { dlopen, FFIType } from "bun:ffi";
import { readFileSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";

const library = dlopen("libc.so.6", {
  malloc_info: { args: [FFIType.int, FFIType.ptr], returns: FFIType.int },
  fopen: { args: [FFIType.cstring, FFIType.cstring], returns: FFIType.ptr },
  fclose: { args: [FFIType.ptr], returns: FFIType.int },
});

/** What the C library has given away and not got back. */
function bytesInUse(): number {
  const path = join(tmpdir(), `strata-malloc-${process.pid}.xml`);
  const file = library.symbols.fopen(Buffer.from(`${path}\0`), Buffer.from("w\0"));
  library.symbols.malloc_info(0, file);
  library.symbols.fclose(file);
  const all = readFileSync(path, "utf8").split("</heap>").at(-1) ?? "";
  unlinkSync(path);
  const sizeOf = (kind: string): number => Number(new RegExp(`${kind}"[^>]* size="(\\d+)"`).exec(all)?.[1]);
  return sizeOf('system type="current') - sizeOf('total type="rest') - sizeOf('total type="fast');
}

const keys = Array.from({ length: 100 }, (_, key) => Buffer.from(`key-${1_000 + key}`));
const workers = 8;

async function growthOf(calls: number, call: (number: number) => Promise<unknown>): Promise<number> {
  const work = async (count: number): Promise<void> => {
    let begun = 0;
    const worker = async (): Promise<void> => {
      while (begun < count) {
        begun += 1;
        await call(begun);
      }
    };
    await Promise.all(Array.from({ length: workers }, worker));
    Bun.gc(true);
  };
  await work(2_000);
  const before = bytesInUse();
  await work(calls);
  return (bytesInUse() - before) / calls;
}

async function measure(kv: KeyValueStore): Promise<readonly number[]> {
  await kv.write(keys.map((key) => ({ kind: "put", key, value: new Uint8Array(64) })));
  const get = await growthOf(20_000, (number) => kv.get(keys[number % keys.length] as Buffer));
  const scan = await growthOf(5_000, async () => {
    const cursor = await kv.scan({ start: Buffer.from("key-1050"), end: Buffer.from("key-1054") }, "settled");
    while ((await cursor.next(8)).length > 0);
    cursor.close();
  });
  return [get, scan];
}

const memory = { kind: "memory", url: "memory:" } as const;
await using kv = await openSlateKv({ location: memory, s3: {}, clock: systemClock, readCache: 0 });
console.log(JSON.stringify(await measure(kv)));
