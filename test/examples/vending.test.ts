/** `examples/vending.ts` as people run it: nothing is sold that is not there, and every slot that ran low is seen to. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { temporaryFolder } from "../support/backends.ts";
import { numbersBefore, runExample } from "./run-example.ts";

setDefaultTimeout(60_000);

function checkStory(told: string): void {
  // Ten people for each of six slots of eight, at once.
  expect([numbersBefore(told, "sold,")[0], numbersBefore(told, "times sold out")[0]]).toEqual([48, 12]);
  const toBring = [...told.matchAll(/to bring on (\w+)\.\w+: (.+)$/gm)].map(([, route, list]) => `${route}: ${list}`);
  expect(toBring).toEqual([
    "harbour: 16 crisps, 16 water",
    "hills: 8 crisps, 8 water",
    "harbour: nothing",
    "hills: nothing",
  ]);
  for (const [type, times] of [
    ["ProductSold", 48],
    ["StockRanLow", 6],
    ["RestockRequested", 6],
    ["SlotRefilled", 6],
  ])
    expect(told).toContain(`${times} ${type}`);
}

describe("Vending machines", () => {
  test("sell what they have, and are refilled with what was sold; who does not come is reminded", async () => {
    const told = await runExample("vending.ts");
    checkStory(told);
    expect(told.match(/jon is reminded: school\.\w+ is short of (?:water|crisps)$/gm)).toHaveLength(2);
  });

  test("run again on the same folder", async () => {
    await using folder = await temporaryFolder();
    for (const _ of ["new", "again"]) checkStory(await runExample("vending.ts", "--url", `file:${folder.path}`));
  });
});
