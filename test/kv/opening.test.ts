/** Where stores live: what URLs mean, which folders are taken and which refused, and that nothing else is touched. */

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import { InvalidArgumentError } from "../../src/errors.ts";
import { parseStoreUrl } from "../../src/kv/object-store.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { bytes, failureOf, openOnFolder, put, temporaryFolder, text } from "./stores.ts";

setDefaultTimeout(60_000);

async function openUrl(url: string): ReturnType<typeof openSlateKv> {
  return await openSlateKv({ location: parseStoreUrl(url), s3: {}, clock: systemClock });
}

test("A URL names memory, a folder or a bucket", () => {
  expect(parseStoreUrl("memory:")).toEqual({ kind: "memory", url: "memory:" });
  expect(parseStoreUrl("file:/a/b")).toMatchObject({ kind: "folder", directory: "/a/b" });
  expect(parseStoreUrl("file:///a/b%20c")).toMatchObject({ kind: "folder", directory: "/a/b c" });
  expect(parseStoreUrl("file:/a/b%20c")).toMatchObject({ kind: "folder", directory: "/a/b%20c" });
  expect(parseStoreUrl("file:data/x")).toMatchObject({ directory: join(process.cwd(), "data/x") });
  expect(parseStoreUrl("s3://my.bucket-1")).toMatchObject({ kind: "s3", bucket: "my.bucket-1", prefix: "" });
  expect(parseStoreUrl("s3://bucket//a/b/")).toMatchObject({ bucket: "bucket", prefix: "a/b" });
});

test("What is no such URL is refused as an invalid argument that says what is wrong", () => {
  const wrong = [
    ["", "memory:"],
    [undefined, "memory:"],
    [12, "memory:"],
    ["memory:x", "memory:"],
    ["/a/b", "memory:"],
    ["http://x/y", "memory:"],
    ["file:", "folder"],
    ["file://", "folder"],
    ["file:/a\0b", "folder"],
    ["file:/a\nb", "folder"],
    ["file:///a%zz", "%"],
    ["s3://", "bucket"],
    ["s3://Bucket", "bucket"],
    ["s3://b/x", "bucket"],
    ["s3:bucket", "memory:"],
    ["s3://bucket/a%20b", "prefix"],
    ["s3://bucket/ä", "prefix"],
    ["s3://bucket/a?b", "prefix"],
    ["s3://bucket/../a", "prefix"],
    ["s3://bucket/./a", "prefix"],
  ] as const;
  for (const [url, part] of wrong) {
    expect(() => parseStoreUrl(url)).toThrow(InvalidArgumentError);
    expect(() => parseStoreUrl(url)).toThrow(part);
  }
});

test("Credentials that somebody put into a URL or an endpoint are refused, and not repeated", async () => {
  const urls = ["s3://mykey:mysecret@bucket/a", "https://mykey:mysecret@s3.amazonaws.com/bucket"];
  const failures: unknown[] = urls.map((url) => {
    try {
      return parseStoreUrl(url);
    } catch (error) {
      return error;
    }
  });
  for (const endpoint of ["http://mykey:mysecret@127.0.0.1:9000", "mykey:mysecret@127.0.0.1"]) {
    const location = parseStoreUrl("s3://bucket/a");
    failures.push(await failureOf(openSlateKv({ location, s3: { endpoint }, clock: systemClock })));
  }
  for (const failure of failures) {
    expect(failure).toBeInstanceOf(InvalidArgumentError);
    expect(inspect(failure, { depth: 9, showHidden: true })).not.toContain("mysecret");
  }
});

test("A folder of any name holds its store itself, and no other folder does", async () => {
  const names = [
    "plain",
    "two words",
    "100%",
    "per%20cent",
    "ümläut-日本",
    "hash#tag",
    "quest?ion",
    "a+b&c=d;e",
    "it's",
    "back\\slash",
  ];
  await using parent = await temporaryFolder();
  for (const name of names) {
    const url = `file:${join(parent.directory, name)}`;
    const kv = await openUrl(url);
    await kv.write([put("name", name)]);
    await kv.close();
  }
  expect((await readdir(parent.directory)).sort()).toEqual([...names].sort());
  for (const name of names) {
    expect(await readdir(join(parent.directory, name))).toEqual(["db"]);
    const kv = await openUrl(`file://${encodeURI(parent.directory)}/${encodeURIComponent(name)}`);
    expect(text(await kv.get(bytes("name")))).toBe(name);
    await kv.close();
  }
});

test("A folder below folders that are not there yet is made, and one behind a link is the folder it leads to", async () => {
  await using parent = await temporaryFolder();
  const deep = join(parent.directory, "a/b/c");
  const first = await openUrl(`file:${deep}`);
  await first.write([put("a", "1")]);
  await first.close();
  await symlink(deep, join(parent.directory, "link"));
  const second = await openUrl(`file:${join(parent.directory, "link")}`);
  expect(text(await second.get(bytes("a")))).toBe("1");
  await second.close();
});

test("A folder that is not empty and holds no store is refused, and left as it is", async () => {
  for (const content of [["notes.txt"], ["db/notes.txt"], ["manifest/1", "wal/1"]]) {
    await using folder = await temporaryFolder();
    for (const path of content) {
      await mkdir(join(folder.directory, path, ".."), { recursive: true });
      await writeFile(join(folder.directory, path), "mine");
    }
    const before = await readdir(folder.directory, { recursive: true });
    const failure = await failureOf(openOnFolder(folder));
    expect(failure.code).toBe("invalid-argument");
    expect(failure.message).toContain(folder.directory);
    expect((await readdir(folder.directory, { recursive: true })).sort()).toEqual(before.sort());
  }
});

test("An empty folder becomes a store, also where the making of one was cut short", async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.directory, "db"));
  const kv = await openOnFolder(folder);
  await kv.write([put("a", "1")]);
  await kv.close();
  expect(await readdir(folder.directory)).toEqual(["db"]);
});

test("A file where a folder should be is refused", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.directory, "file");
  await writeFile(file, "mine");
  for (const url of [`file:${file}`, `file:${file}/below`]) {
    const failure = await failureOf(openUrl(url));
    expect(failure.code).toBe("invalid-argument");
    expect(failure.message).toContain("file");
  }
});

test("A folder that may not be made is told as storage-unavailable", async () => {
  const failure = await failureOf(openUrl("file:/proc/strata"));
  expect(failure.code).toBe("storage-unavailable");
});
