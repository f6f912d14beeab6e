/** Objects beside the database: the same suite in memory, on a folder, on the stand-in and on MinIO, then what is special to each. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type ObjectAccess, objectBytesMax, openObjects } from "../../src/kv/objects.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type Minio, minioAvailable, startMinio } from "../support/minio.ts";
import { type S3StandIn, s3Error, startS3StandIn } from "./s3-stand-in.ts";
import { bytes, failureOf, openOnFolder, standInCredentials, temporaryFolder, text } from "./stores.ts";

setDefaultTimeout(60_000);

interface Opened extends AsyncDisposable {
  readonly objects: ObjectAccess;
}

async function namesOf(objects: ObjectAccess, prefix: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { name } of objects.list(prefix)) names.push(name);
  return names;
}

async function tagOf(work: ReturnType<ObjectAccess["put"]>): Promise<string> {
  const done = await work;
  if (done === "conflict") throw new Error("A put met a conflict");
  return done.tag;
}

function testObjects(where: string, open: () => Promise<Opened>): void {
  describe(`Objects ${where}`, () => {
    test("are read as they were written, also when they are empty, and are absent before and after", async () => {
      await using opened = await open();
      const { objects } = opened;
      expect(await objects.get("a/b")).toBeUndefined();
      for (const value of ["first", "", "third"]) {
        const tag = await tagOf(objects.put("a/b", bytes(value)));
        const found = await objects.get("a/b");
        expect(text(found?.bytes)).toBe(value);
        expect(found?.tag).toBe(tag);
      }
      await objects.delete("a/b");
      expect(await objects.get("a/b")).toBeUndefined();
      await objects.delete("a/b");
    });

    test("are made once by ifAbsent, and again after they were removed", async () => {
      await using opened = await open();
      const { objects } = opened;
      const attempts = Array.from({ length: 8 }, (_, index) =>
        objects.put("lease", bytes(`owner ${index}`), { ifAbsent: true }),
      );
      const outcomes = await Promise.all(attempts);
      const winners = outcomes.flatMap((outcome, index) => (outcome === "conflict" ? [] : [`owner ${index}`]));
      expect(winners).toHaveLength(1);
      expect(text((await objects.get("lease"))?.bytes)).toBe(winners[0] ?? "nobody");
      await objects.delete("lease");
      expect(await objects.put("lease", bytes("later"), { ifAbsent: true })).not.toBe("conflict");
    });

    test("are replaced by ifTag only as long as they are what the tag stands for", async () => {
      await using opened = await open();
      const { objects } = opened;
      const first = await tagOf(objects.put("lease", bytes("first")));
      expect(await objects.put("absent", bytes("x"), { ifTag: first })).toBe("conflict");
      const second = await tagOf(objects.put("lease", bytes("second"), { ifTag: first }));
      expect(second).not.toBe(first);
      expect(await objects.put("lease", bytes("late"), { ifTag: first })).toBe("conflict");
      expect(text((await objects.get("lease"))?.bytes)).toBe("second");
      const attempts = Array.from({ length: 8 }, (_, index) =>
        objects.put("lease", bytes(`owner ${index}`), { ifTag: second }),
      );
      expect((await Promise.all(attempts)).filter((outcome) => outcome !== "conflict")).toHaveLength(1);
    });

    test("are listed by prefix, in the order of their names, with their sizes and times", async () => {
      await using opened = await open();
      const { objects } = opened;
      const names = ["a-b", "a/b", "a/c/d", "a0", "b/a", "b.a"];
      for (const name of names) await objects.put(name, bytes(name));
      expect(await namesOf(objects, "")).toEqual([...names].sort());
      expect(await namesOf(objects, "a/")).toEqual(["a/b", "a/c/d"]);
      expect(await namesOf(objects, "a")).toEqual(["a-b", "a/b", "a/c/d", "a0"]);
      expect(await namesOf(objects, "a/c/d")).toEqual(["a/c/d"]);
      expect(await namesOf(objects, "nothing")).toEqual([]);
      for await (const { name, size, modifiedMs } of objects.list("")) {
        expect(size).toBe(name.length);
        expect(Math.abs(modifiedMs - Date.now())).toBeLessThan(3_600_000);
      }
    });

    test("have plain names, and lie outside the database", async () => {
      await using opened = await open();
      const { objects } = opened;
      for (const name of ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "ä", "a".repeat(513)]) {
        const calls = [objects.get(name), objects.put(name, bytes("x")), objects.delete(name)];
        for (const call of calls) expect((await failureOf(call)).code).toBe("invalid-argument");
      }
      expect((await failureOf(objects.put("db/manifest/1", bytes("x")))).code).toBe("invalid-argument");
      expect((await failureOf(objects.delete("db/manifest/1"))).code).toBe("invalid-argument");
      const both = objects.put("a", bytes("x"), { ifAbsent: true, ifTag: "t" });
      expect((await failureOf(both)).code).toBe("invalid-argument");
      const large = objects.put("a", new Uint8Array(objectBytesMax + 1));
      expect((await failureOf(large)).code).toBe("invalid-argument");
    });

    test("answer nothing once they are closed", async () => {
      await using opened = await open();
      const { objects } = opened;
      await objects.put("a", bytes("x"));
      await objects.close();
      await objects.close();
      const calls = [objects.get("a"), objects.put("a", bytes("x")), objects.delete("a"), namesOf(objects, "")];
      for (const call of calls) expect((await failureOf(call)).code).toBe("store-closed");
    });
  });
}

testObjects("in memory", async () => {
  const objects = await openObjects({ kind: "memory", url: "memory:" }, {});
  return { objects, [Symbol.asyncDispose]: () => objects.close() };
});

testObjects("in a folder", async () => {
  const folder = await temporaryFolder();
  const objects = await openObjects(folder.location, {});
  return { objects, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
});

function openOn(standIn: S3StandIn): Promise<ObjectAccess> {
  return openObjects(standIn.location, { endpoint: standIn.endpoint, ...standInCredentials });
}

testObjects("on the stand-in", async () => {
  const standIn = startS3StandIn();
  return { objects: await openOn(standIn), [Symbol.asyncDispose]: () => standIn[Symbol.asyncDispose]() };
});

describe("Objects in a folder", () => {
  test("lose no update of processes that write the same one at once", async () => {
    await using folder = await temporaryFolder();
    const script = join(import.meta.dir, "../support/objects-child.ts");
    const command = [process.execPath, script, folder.directory, "counters/one", "25"];
    const children = Array.from({ length: 4 }, () => Bun.spawn(command, { stdout: "inherit", stderr: "inherit" }));
    expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0, 0]);
    await using objects = await openObjects(folder.location, {});
    expect(text((await objects.get("counters/one"))?.bytes)).toBe("100");
    expect(await namesOf(objects, "")).toEqual(["counters/one"]);
  });

  test("may be there before the database, and beside it", async () => {
    await using folder = await temporaryFolder();
    await using objects = await openObjects(folder.location, {});
    await objects.put("leases/writer", bytes("me"));
    await using kv = await openOnFolder(folder);
    await kv.close();
    expect((await namesOf(objects, "db/")).length).toBeGreaterThan(0);
    expect(text((await objects.get("leases/writer"))?.bytes)).toBe("me");
    expect((await readdir(folder.directory)).sort()).toEqual([".strata.lock", "db", "leases"]);
  });

  test("are absent where there is no folder, and listing them makes none", async () => {
    await using folder = await temporaryFolder();
    const directory = join(folder.directory, "none");
    await using objects = await openObjects({ kind: "folder", url: `file:${directory}`, directory }, {});
    expect(await objects.get("a")).toBeUndefined();
    expect(await namesOf(objects, "")).toEqual([]);
    expect(await readdir(folder.directory)).toEqual([]);
  });
});

describe("Objects in a bucket", () => {
  test("tell their own write from another's when the answer to it was lost", async () => {
    await using standIn = startS3StandIn();
    await using objects = await openOn(standIn);
    for (const [index, stored] of ["ours", "theirs"].entries()) {
      const name = `lease-${index}`;
      let lost = false;
      standIn.intercept(async ({ method }) => {
        if (method !== "PUT" || lost) return undefined;
        lost = true;
        await fetch(`${standIn.endpoint}/stand-in/store/${name}`, { method: "PUT", body: stored });
        return s3Error(500, "InternalError");
      });
      const outcome = await objects.put(name, bytes("ours"), { ifAbsent: true });
      standIn.intercept(undefined);
      expect(outcome === "conflict" ? "theirs" : "ours").toBe(stored);
      expect(text((await objects.get(name))?.bytes)).toBe(stored);
    }
  });

  test("say what is wrong without the credentials", async () => {
    await using standIn = startS3StandIn();
    await using objects = await openOn(standIn);
    standIn.intercept(({ headers }) => s3Error(403, `Denied ${headers.get("authorization")}`));
    const failure = await failureOf(objects.put("a", bytes("x")));
    expect(failure.code).toBe("storage-unavailable");
    expect(failure.outcome).toBe("unknown");
    expect(failure.message).toContain(standIn.endpoint);
    const shown = Bun.inspect(failure, { depth: 10 });
    for (const secret of Object.values(standInCredentials)) expect(shown).not.toContain(secret);
    expect(Bun.inspect(objects, { depth: 10 })).not.toContain(standInCredentials.secretAccessKey);
  });
});

describe.skipIf(!minioAvailable)("On MinIO", () => {
  let started: Minio | undefined;
  beforeAll(async () => {
    started = await startMinio();
  });
  afterAll(() => started?.[Symbol.asyncDispose]());
  const minio = (): Minio => {
    if (started === undefined) throw new Error("MinIO is not running");
    return started;
  };

  testObjects("in a bucket", async () => {
    const bucket = await minio().createBucket();
    const url = `s3://${bucket}/beside`;
    const objects = await openObjects({ kind: "s3", url, bucket, prefix: "beside" }, minio().s3);
    return { objects, [Symbol.asyncDispose]: () => objects.close() };
  });

  test("Objects in a bucket lie beside the database, at its root as well, page after page", async () => {
    const bucket = await minio().createBucket();
    const location = { kind: "s3", url: `s3://${bucket}`, bucket, prefix: "" } as const;
    await using kv = await openSlateKv({ location, s3: minio().s3, clock: systemClock });
    await using objects = await openObjects(location, minio().s3);
    const names = Array.from({ length: 1_005 }, (_, index) => `many/${String(index).padStart(4, "0")}`);
    for (let from = 0; from < names.length; from += 67) {
      await Promise.all(names.slice(from, from + 67).map((name) => objects.put(name, bytes(name))));
    }
    expect(await namesOf(objects, "many/")).toEqual(names);
    expect((await namesOf(objects, "db/manifest/")).length).toBeGreaterThan(0);
    await kv.close();
  });
});
