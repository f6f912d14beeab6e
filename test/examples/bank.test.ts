/** `examples/bank.ts` as people run it: money moves, and none is lost or made. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { temporaryFolder } from "../support/backends.ts";
import { numbersBefore, runExample } from "./run-example.ts";

setDefaultTimeout(60_000);

/** What a statement says that the bank holds. */
const totals = (told: string): readonly string[] =>
  [...told.matchAll(/^ {2}bank +([\d.]+) EUR$/gm)].map(([, sum]) => sum ?? "");

describe("The bank", () => {
  test("conserves money under concurrent transfers, and refuses what it must", async () => {
    const told = await runExample("bank.ts");
    expect(totals(told)).toEqual(["400.00", "400.00"]);
    expect(told).toContain("by the name of ann: refused, name-taken");
    expect(told).toContain("10 people want the name of zoe at once: 1 of them got it");
    expect(told).toContain("replayed false, then true");
    expect(told).toContain("a million: refused, insufficient-funds");
    const [done = 0, refused = 0] = [numbersBefore(told, "transfers done")[0], numbersBefore(told, "refused for")[0]];
    expect(done).toBeGreaterThan(0);
    expect(done + refused).toBe(125);
    expect(told).toContain("Not a cent was lost or made.");
  });

  test("finds the money of yesterday again", async () => {
    await using folder = await temporaryFolder();
    await runExample("bank.ts", "--url", `file:${folder.path}`);
    const told = await runExample("bank.ts", "--url", `file:${folder.path}`);
    expect(totals(told)).toEqual(["800.00", "800.00"]);
    expect(told).toContain("at once: 0 of them got it");
  });
});
