/**
 * Connections to a bucket are kept, a few, for a moment. A path may die without a word (a router forgets, a machine is gone): then each that
 * was kept costs a request's time-out before the next is tried.
 */

import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type S3StandIn, startS3StandIn } from "./s3-stand-in.ts";
import { bytes, put, standInCredentials } from "./stores.ts";

setDefaultTimeout(60_000);

/** Before a stand-in. What is connected when `cut` is called gets no answers from then on, and no end. */
class Path implements AsyncDisposable {
  connections = 0;
  /** Pieces of requests that came on connections that were cut. */
  lost = 0;
  readonly #server: Server;
  #age = 0;

  constructor(port: number) {
    this.#server = createServer((near) => this.#connect(near, createConnection(port, "127.0.0.1")));
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("The path has no port");
    return `http://127.0.0.1:${address.port}`;
  }

  cut(): void {
    this.#age += 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
  }

  #connect(near: Socket, far: Socket): void {
    this.connections += 1;
    const age = this.#age;
    for (const socket of [near, far]) socket.on("error", () => {});
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
    far.on("data", (piece) => {
      if (age === this.#age) near.write(piece);
    });
    near.on("data", (piece) => {
      if (age === this.#age) far.write(piece);
      else this.lost += 1;
    });
  }
}

let standIn: S3StandIn | undefined;

afterEach(async () => {
  await standIn?.[Symbol.asyncDispose]();
  standIn = undefined;
});

async function openBehind(path: Path, at: S3StandIn, reuseConnections?: boolean): Promise<KeyValueStore> {
  const s3 = {
    endpoint: await path.listen(),
    ...standInCredentials,
    ...(reuseConnections === undefined ? {} : { reuseConnections }),
  };
  return await openSlateKv({ location: at.location, s3, clock: systemClock, tuning: { requestTimeoutMs: 1_000 } });
}

async function write(kv: KeyValueStore, row: number): Promise<void> {
  await kv.write([put(`row-${row}`, "value")]);
}

test("One write after another goes over the same connection, or over one each where that is asked for", async () => {
  standIn = startS3StandIn();
  for (const [reuse, most] of [
    [undefined, 5],
    [false, 200],
  ] as const) {
    await using path = new Path(Number(new URL(standIn.endpoint).port));
    const kv = await openBehind(path, standIn, reuse);
    const before = path.connections;
    for (let row = 0; row < 40; row += 1) await write(kv, row);
    const made = path.connections - before;
    expect([reuse, made <= most, made >= 40]).toEqual([reuse, true, reuse === false]);
    await kv.close();
  }
});

test("A path that dies without a word costs the time-outs of the few connections that were kept", async () => {
  standIn = startS3StandIn();
  await using path = new Path(Number(new URL(standIn.endpoint).port));
  const filled = await openBehind(path, standIn);
  for (let row = 0; row < 64; row += 1) await write(filled, row);
  await filled.close();
  await using again = new Path(Number(new URL(standIn.endpoint).port));
  const kv = await openBehind(again, standIn);
  const before = again.connections;
  const reading = Array.from({ length: 64 }, (_, row) => kv.get(bytes(`row-${row}`)));
  await Promise.all([...reading, write(kv, 64)]);
  const parallel = again.connections - before;
  again.cut();
  await write(kv, 65);
  expect(await kv.get(bytes("row-65"))).toBeDefined();
  expect(again.lost).toBeLessThanOrEqual(4);
  expect(parallel).toBeGreaterThan(4);
  await kv.close();
});
