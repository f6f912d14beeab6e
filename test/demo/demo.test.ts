/** `bun run start` on a folder and in memory: the story comes to its end, and what it tells adds up. */

import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../support/backends.ts";

setDefaultTimeout(60_000);

const root = join(import.meta.dir, "../..");

async function demo(url: string, temporary: string): Promise<string> {
  const child = Bun.spawn([process.execPath, "src/demo/main.ts", "--url", url], {
    cwd: root,
    env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", TMPDIR: temporary },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [told, complaints] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect({ code: await child.exited, complaints }).toEqual({ code: 0, complaints: "" });
  return told;
}

function checkStory(told: string): void {
  for (const chapter of Array.from({ length: 12 }, (_, n) => n + 1))
    expect(told).toMatch(new RegExp(`^${chapter}\\. `, "m"));
  for (const code of ["invalid-event", "invalid-command", "conflict"]) expect(told).toContain(`refused: ${code}`);
  expect(told).toContain("refused: by the decider - placed-already");
  const positions = [...told.matchAll(/position (\d+), replayed: (\w+)/g)].map(([, position, replayed]) => [
    position,
    replayed,
  ]);
  expect(positions).toEqual([
    [positions[0]?.[0], "false"],
    [positions[0]?.[0], "true"],
  ]);
  expect(told).toContain('"status":"shipped","items":6,"totalCents":6850');
  expect(told).toContain('"status":"cancelled","items":1,"totalCents":4900');
  // A timer never fires early.
  expect(Number(/cancelled after +(\d+) ms/.exec(told)?.[1])).toBeGreaterThanOrEqual(400);
  expect(told.match(/a reactor writes +(?:Thank you|Your order was cancelled)/g)).toHaveLength(2);
  expect(told).toMatch(/blame \/status +"paid" since version \d+, OrderPaid/);
  expect(told).toMatch(/OrderConfirmed in order\n +PaymentRequested in payment/);
  expect(told.match(/running, 0 events behind/g)?.length).toBeGreaterThan(0);
}

describe("The demo", () => {
  test("tells its whole story twice on one folder, and its report counts each order once", async () => {
    await using folder = await temporaryFolder();
    const url = `file:${join(folder.path, "shop")}`;
    for (const runs of [1, 2]) {
      const told = await demo(url, folder.path);
      checkStory(told);
      expect(told).toContain(runs === 1 ? "The store is new." : "events from earlier runs");
      expect(told).toContain("refused: writer-fenced");
      expect(told).toContain("as many as before: true");
      expect(told).toMatch(new RegExp(`teapots ever ordered +${runs}$`, "m"));
      using report = new Database(join(folder.path, "shop/sales.sqlite"), { readonly: true });
      const rows = report
        .query("select outcome, count(*) as orders from outcomes group by outcome order by outcome")
        .all();
      expect(rows).toEqual([
        { outcome: "cancelled", orders: runs },
        { outcome: "paid", orders: runs },
      ]);
    }
  });

  test("tells it in memory, and leaves nothing behind", async () => {
    await using folder = await temporaryFolder();
    checkStory(await demo("memory:", folder.path));
    expect(readdirSync(folder.path).filter((name) => name.startsWith("strata-demo-"))).toEqual([]);
  });
});
