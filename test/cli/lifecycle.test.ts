/** `strata retention`, `truncate`, `delete`, `undelete` and `archive`: what they do and tell, and what they refuse. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { openEventStore } from "../../src/index.ts";
import { collect } from "../support/collect.ts";
import { strata, Workplace } from "./support.ts";

setDefaultTimeout(60_000);

async function filled(): Promise<Workplace> {
  const place = await Workplace.make();
  await using store = await place.open();
  for (const name of ["cart-1", "cart-2"]) {
    const events = Array.from({ length: 10 }, (_, index) => ({ type: "T", data: index }));
    await store.append(name, events, { expectedVersion: "no-stream" });
  }
  return place;
}

describe("The life of streams on the command line", () => {
  test("is cut, ended, had back and archived, and each is recorded with who did it", async () => {
    await using place = await filled();
    const run = async (...words: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await strata([...words, "--url", place.url, "--actor", "kim"]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      return stdout;
    };
    expect(await run("truncate", "cart-1", "--before", "4", "--expected-version", "10")).toBe(
      "stream    cart-1\nkept      versions 4 to 10\n",
    );
    expect(await run("delete", "cart-1")).toMatch(
      /^stream {4}cart-1\ndeleted {3}\S+Z, at version 10\nundelete {2}until \S+Z\n$/,
    );
    const gone = await strata(["read", "cart-1", "--url", place.url]);
    expect(gone).toMatchObject({ exitCode: 4, stdout: "" });
    expect(gone.stderr).toMatch(/^strata: The stream was deleted at \S+Z: "cart-1" \(stream-deleted\)\n$/);
    expect(JSON.parse(await run("undelete", "cart-1", "--json"))).toMatchObject({ streamVersion: 10, replayed: false });
    expect(JSON.parse(await run("archive", "cart-2", "--before", "6", "--json"))).toMatchObject({
      ...{ archivedBefore: 6, events: 5, objects: 1 },
    });
    expect(await run("archive", "cart-2", "--before", "6")).toContain("moved     0 events");
    expect((await strata(["compact", "--url", place.url])).exitCode).toBe(0);
    const read = await strata(["read", "cart-2", "--url", place.url]);
    expect(read.stdout.trim().split("\n").length).toBe(10);
    const events = await place.events();
    expect(events.map(({ streamName, version }) => `${streamName} ${version}`).slice(0, 2)).toEqual([
      "cart-1 4",
      "cart-1 5",
    ]);
    await using store = await place.open();
    const told = await collect(store.readStream("$strata-lifecycle"));
    expect(told.map(({ type, metadata }) => `${type} ${metadata.actor}`)).toEqual([
      ...["$stream-truncated kim", "$stream-deleted kim", "$stream-undeleted kim", "$stream-archived kim"],
    ]);
    const exported = await strata(["export", "--url", place.url]);
    expect(exported.stdout).not.toContain("$strata");
    expect(exported.stdout.trim().split("\n").length).toBe(12);
  });

  test("goes by rules that are listed, set and removed", async () => {
    await using place = await filled();
    const retention = async (...words: string[]): Promise<string> =>
      (await strata(["retention", "--url", place.url, ...words])).stdout;
    expect(await retention()).toBe("no rules: all events are kept\n");
    expect(await retention("--of", "cart", "--max-age", "90d", "--max-count", "3")).toBe(
      "category  cart  at most 90 days old, the newest 3\n",
    );
    await retention("--of", "cart-2", "--max-age", "12h");
    const listed = "category  cart  at most 90 days old, the newest 3\nstream  cart-2  at most 12 h 0 min old\n";
    expect(await retention()).toBe(listed);
    expect(JSON.parse(await retention("--json"))).toMatchObject([{ name: "cart", maxCount: 3 }, { name: "cart-2" }]);
    {
      // Who writes is not disturbed by who lists.
      await using store = await openEventStore({ url: place.url });
      expect(await retention()).toBe(listed);
      await store.append("cart-1", [{ type: "T", data: 1 }], { expectedVersion: 10 });
      expect((await collect(store.readStream("cart-1"))).length).toBe(3);
    }
    await retention("--of", "cart", "--none");
    expect(await retention()).toBe("stream  cart-2  at most 12 h 0 min old\n");
  });

  test("is not touched by nonsense, by a wrong version, or under a service that writes", async () => {
    await using place = await filled();
    const refused = async (exitCode: number, ...words: string[]): Promise<void> => {
      const finished = await strata([...words, "--url", place.url]);
      expect([words, finished.exitCode, finished.stdout]).toEqual([words, exitCode, ""]);
      expect(finished.stderr).toMatch(/^strata: .+\n$/);
    };
    await refused(2, "truncate", "cart-1");
    await refused(2, "truncate", "cart-1", "--before", "0");
    await refused(2, "truncate", "cart-1", "--before", "12");
    await refused(4, "truncate", "cart-9", "--before", "1");
    await refused(1, "delete", "cart-1", "--expected-version", "9");
    await refused(2, "delete");
    await refused(4, "delete", "cart-9");
    await refused(4, "undelete", "cart-9");
    await refused(4, "archive", "cart-9");
    await refused(2, "retention", "--max-count", "3");
    await refused(2, "retention", "--of", "cart");
    await refused(2, "retention", "--of", "cart", "--max-age", "soon");
    await refused(2, "retention", "--of", "cart", "--none", "--max-count", "3");
    {
      await using _store = await openEventStore({ url: place.url });
      await refused(1, "delete", "cart-1");
    }
    expect((await place.events()).length).toBe(20);
  });
});
