/**
 * Real processes on one store, on a folder and on MinIO: one writes, others stand by. The writer is killed, closed, or stopped and
 * resumed. A standby takes over by itself, everything acknowledged is there, and who was replaced acknowledges nothing.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { type OpenOptions, openEventStore, readWriterLease } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect, until } from "../support/collect.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";
import { WriterProcess } from "../support/writer-process.ts";

setDefaultTimeout(60_000);

/** Short, so that the tests are; a lease lasts three of them. */
const leaseIntervalMs = 800;

type Place = Pick<OpenOptions, "url" | "s3">;

function suite(place: () => Promise<Place & AsyncDisposable>): void {
  const writerOn = ({ url, s3 = {} }: Place, writerName: string): WriterProcess =>
    new WriterProcess({ url, s3, writerName, leaseIntervalMs });
  const standbyOn = ({ url, s3 = {} }: Place, writerName: string): WriterProcess =>
    new WriterProcess({ url, s3, writerName, leaseIntervalMs, takeover: "when-idle" });
  const leaseOn = ({ url, s3 = {} }: Place) => readWriterLease({ url, s3 });

  async function expectHistory({ url, s3 = {} }: Place, writers: readonly WriterProcess[]): Promise<void> {
    await using store = await openEventStore({ url, s3 });
    const log = await collect(store.readAll());
    expect(log.map((event) => event.position)).toEqual(log.map((_, index) => index + 1));
    for (const { id, position } of writers.flatMap((writer) => writer.all("acknowledged"))) {
      expect(log[position - 1]?.id).toBe(id);
    }
  }

  test("A standby takes over from a writer that was killed, and not while that writes", async () => {
    await using at = await place();
    await using first = writerOn(at, "first");
    await first.hear("acknowledged");
    await using second = standbyOn(at, "second");
    await second.hear("opening");
    const renewed = await leaseOn(at);
    // Longer than a lease lasts: it is renewed.
    await until(async () => {
      const lease = await leaseOn(at);
      return (lease?.renewedAt.getTime() ?? 0) - (renewed?.renewedAt.getTime() ?? 0) > 4 * leaseIntervalMs;
    });
    expect(second.said.map((said) => said.kind)).toEqual(["opening"]);
    expect(await leaseOn(at)).toMatchObject({ state: "held", writerName: "first", pid: first.pid });
    await first.kill();
    const position = first.all("acknowledged").at(-1)?.position ?? 0;
    expect((await second.hear("open")).lastPosition).toBeGreaterThanOrEqual(position);
    expect((await second.hear("acknowledged")).position).toBeGreaterThan(position);
    expect(await leaseOn(at)).toMatchObject({ state: "held", writerName: "second", pid: second.pid });
    await second.close();
    expect(await leaseOn(at)).toMatchObject({ state: "released", writerName: "second" });
    await expectHistory(at, [first, second]);
  });

  test("A standby takes over from a writer that closed, with its lease far from expired", async () => {
    await using at = await place();
    const { url, s3 = {} } = at;
    await using first = new WriterProcess({ url, s3, writerName: "first", leaseIntervalMs: 200_000 });
    await first.hear("acknowledged");
    await using second = standbyOn(at, "second");
    await second.hear("opening");
    await first.close();
    await second.hear("acknowledged");
    await second.close();
    expect(first.all("refused")).toEqual([]);
    await expectHistory(at, [first, second]);
  });

  test("A writer that stood still for longer than its lease acknowledges nothing, leaves the new lease, and is told once", async () => {
    await using at = await place();
    await using first = writerOn(at, "first");
    await first.hear("acknowledged");
    await using second = standbyOn(at, "second");
    await second.hear("opening");
    first.stop();
    await second.hear("acknowledged");
    const acknowledged = first.all("acknowledged").length;
    const lease = await leaseOn(at);
    expect(lease).toMatchObject({ state: "held", writerName: "second" });
    first.resume();
    expect(await first.hear("refused")).toMatchObject({ outcome: expect.stringMatching(/unknown|not-applied/) });
    expect(await first.hear("fenced")).toMatchObject({ code: "writer-fenced", by: "second", pid: second.pid });
    // What it had said before it was stopped may only be heard now; what it says of an append after that is a refusal.
    const resumed = first.all("acknowledged").slice(acknowledged);
    const secondFirst = second.all("acknowledged")[0];
    for (const { position } of resumed) expect(position).toBeLessThan(secondFirst?.position ?? 0);
    await until(async () => ((await leaseOn(at))?.renewedAt.getTime() ?? 0) > (lease?.renewedAt.getTime() ?? 0));
    expect(await leaseOn(at)).toMatchObject({ state: "held", writerName: "second", instanceId: lease?.instanceId });
    await first.close();
    expect(await leaseOn(at)).toMatchObject({ state: "held", writerName: "second" });
    expect(first.all("fenced").length).toBe(1);
    expect(second.all("fenced")).toEqual([]);
    await second.close();
    await expectHistory(at, [first, second]);
  });

  test("Of three standbys one takes over, and the others wait for their turn", async () => {
    await using at = await place();
    await using writer = writerOn(at, "writer");
    await writer.hear("acknowledged");
    await using a = standbyOn(at, "a");
    await using b = standbyOn(at, "b");
    await using c = standbyOn(at, "c");
    let waiting: readonly WriterProcess[] = [a, b, c];
    await Promise.all(waiting.map((standby) => standby.hear("opening")));
    await writer.kill();
    const all = [writer];
    while (waiting.length > 0) {
      const winner = await Promise.any(
        waiting.map(async (standby) => {
          await standby.hear("acknowledged");
          return standby;
        }),
      );
      waiting = waiting.filter((standby) => standby !== winner);
      expect(waiting.flatMap((standby) => standby.all("open"))).toEqual([]);
      await winner.close();
      expect([winner.all("refused"), winner.all("fenced")]).toEqual([[], []]);
      all.push(winner);
    }
    await expectHistory(at, all);
  });

  test("A writer that waits for nobody takes over at once, and the one before is told", async () => {
    await using at = await place();
    await using first = writerOn(at, "first");
    await first.hear("acknowledged");
    await using second = writerOn(at, "second");
    expect(await first.hear("refused")).toMatchObject({ code: "writer-fenced" });
    expect(await first.hear("fenced")).toMatchObject({ by: "second", pid: second.pid });
    await second.hear("acknowledged");
    await first.close();
    expect(await leaseOn(at)).toMatchObject({ state: "held", writerName: "second" });
    await second.close();
    await expectHistory(at, [first, second]);
  });

  test("A standby with a time limit gives up, having fenced nobody", async () => {
    await using at = await place();
    const { url, s3 = {} } = at;
    await using first = writerOn(at, "first");
    await first.hear("acknowledged");
    const waiting = openEventStore({ url, s3, takeover: "when-idle", takeoverTimeoutMs: 300, leaseIntervalMs });
    const error = await waiting.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "writer-active", writer: { writerName: "first", pid: first.pid } });
    const giving = new AbortController();
    const aborted = openEventStore({ url, s3, takeover: "when-idle", signal: giving.signal, leaseIntervalMs });
    giving.abort("enough");
    expect(await aborted.catch((thrown: unknown) => thrown)).toBe("enough");
    await first.hear("acknowledged", first.said.length);
    await first.close();
    expect([first.all("refused"), first.all("fenced")]).toEqual([[], []]);
  });
}

describe("On a folder", () => {
  suite(async () => {
    const folder = await temporaryFolder();
    return { url: `file:${folder.path}`, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
  });

  test("The lease stands beside the database, and opening does not take it for something else", async () => {
    await using folder = await temporaryFolder();
    const url = `file:${folder.path}`;
    await (await openEventStore({ url, takeover: "when-idle" })).close();
    expect((await readdir(folder.path)).filter((name) => !name.startsWith(".")).sort()).toEqual(["db", "lease.json"]);
    await (await openEventStore({ url })).close();
  });
});

describe.skipIf(!minioAvailable)("On MinIO", () => {
  let started: Minio | undefined;

  beforeAll(async () => {
    started = await startMinio();
  });

  afterAll(() => started?.[Symbol.asyncDispose]());

  suite(async () => {
    if (started === undefined) throw new Error("MinIO is not running");
    const bucket = await started.createBucket();
    return { url: `s3://${bucket}/store`, s3: started.s3, [Symbol.asyncDispose]: async () => {} };
  });
});
