/** A real process that appends and projects is killed at random moments: each event has taken effect exactly once. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { openEventStore, runSqlProjections } from "../../src/index.ts";
import { temporaryFolder } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { seededRandom } from "../support/faulty-kv.ts";
import {
  databaseKinds,
  foldTotals,
  order,
  readLines,
  readTotals,
  stopSharedPostgres,
  totals,
} from "../support/reporting.ts";

setDefaultTimeout(60_000);
afterAll(stopSharedPostgres);

const rounds = 20;
const child = join(import.meta.dir, "../support/projecting-child.ts");

/** Runs the child until its tables have come so much further, and kills it; answers how far they had come. */
async function runAndKill(url: string, database: string, further: number): Promise<number> {
  const running = Bun.spawn([process.execPath, child, url, database], { stdout: "pipe", stderr: "inherit" });
  let first: number | undefined;
  let last = 0;
  let rest = "";
  for await (const chunk of running.stdout) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      last = Number(line);
      first ??= last;
    }
    if (first !== undefined && last >= first + further && !running.killed) running.kill("SIGKILL");
  }
  await running.exited;
  return last;
}

describe.each(databaseKinds.map((kind) => [kind.name, kind] as const))("With %s", (_name, kind) => {
  test.skipIf(!kind.available)(
    `after each of ${rounds} kills the tables equal a fold over the log (needs its server)`,
    async () => {
      const seed = Date.now() % 1_000_000;
      const random = seededRandom(seed);
      await using folder = await temporaryFolder();
      await using database = await kind.create();
      const url = `file:${folder.path}`;
      let furthest = 0;
      try {
        for (let round = 1; round <= rounds; round += 1) {
          furthest = Math.max(furthest, await runAndKill(url, database.url, Math.ceil(random() * 1_500)));
          // As they were left, the tables are what the log says up to their checkpoint, which went no further back.
          await using store = await openEventStore({ url, events: [order] });
          const log = await collect(store.readAll());
          const [row] = await database.sql`select position from strata_projections where name = 'totals'`;
          const checkpoint = Number(row?.position);
          expect(checkpoint).toBeGreaterThanOrEqual(furthest);
          const handled = log.filter((event) => event.position <= checkpoint);
          expect(await readTotals(database.sql)).toEqual(foldTotals(handled));
          expect(await readLines(database.sql)).toEqual(handled.map((event) => event.position));
          if (round % 2 === 1 && round < rounds) continue;
          // Every other time the rest is handled here; the next child meets what the killed one has left otherwise.
          await using running = runSqlProjections(store, [totals(database.url)], { leaseMs: 1_000 });
          await running.waitFor("totals", log.length);
          expect(await readTotals(database.sql)).toEqual(foldTotals(log));
          expect(await readLines(database.sql)).toEqual(log.map((event) => event.position));
        }
      } catch (error) {
        throw new Error(`Seed ${seed} fails`, { cause: error });
      }
      expect(furthest).toBeGreaterThan(rounds);
    },
    240_000,
  );
});
