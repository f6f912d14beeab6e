/** Twenty times, a process that writes as fast as it can is killed; whatever it has acknowledged is there afterwards. */

import { expect, setDefaultTimeout, test } from "bun:test";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { StoreChild } from "../support/child.ts";
import { temporaryFolder } from "./stores.ts";

setDefaultTimeout(120_000);

const rounds = 20;
const groupKeys = 3;
/** Flushes, collects and compacts all the time, so that a kill finds it at any of that. */
const busy: Partial<SlateTuning> = {
  memtableFlushGroups: 8,
  memtableFlushSpacingMs: 0,
  garbageIntervalMs: 50,
  manifestPollMs: 50,
};

test("Nothing that was acknowledged is lost in 20 rounds of kill -9", async () => {
  await using folder = await temporaryFolder();
  let next = 0;
  const acknowledged = new Set<number>();
  for (let round = 0; round < rounds; round += 1) {
    await using child = new StoreChild();
    await child.open(folder.location, round % 2 === 0 ? busy : {});
    const found = await child.keys();
    const lost = [...acknowledged].filter((key) => !found.includes(key));
    expect(lost).toEqual([]);
    next = found.length === 0 ? 0 : Math.max(...found) + 1;
    const until = next + groupKeys * (10 + 7 * round);
    await child.writeOn({ from: next, until, groupKeys, valueBytes: 200 });
    await child.kill();
    for (let key = next; key < child.acknowledged; key += 1) acknowledged.add(key);
  }
  await using last = new StoreChild();
  await last.open(folder.location);
  const found = new Set(await last.keys());
  expect([...acknowledged].filter((key) => !found.has(key))).toEqual([]);
  expect(acknowledged.size).toBeGreaterThanOrEqual(rounds * groupKeys * 10);
  // A group is there whole or not at all.
  expect(found.size % groupKeys).toBe(0);
});
