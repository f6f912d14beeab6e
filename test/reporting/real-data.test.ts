/** The real 262,200 events of 13,087 loan applications: their published facts come out of SQL, also while more events arrive. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import type { SQL } from "bun";
import {
  defineSqlProjection,
  type EventStore,
  openEventStore,
  runSqlProjections,
  type SqlHandler,
  type SqlProjection,
} from "../../src/index.ts";
import { Workplace } from "../cli/support.ts";

import { databaseKinds, eventually, stopSharedPostgres } from "../support/reporting.ts";

setDefaultTimeout(60_000);
afterAll(stopSharedPostgres);

const file: string = process.env.STRATA_TEST_DATA ?? "";

const published = {
  ...{ events: 262_200, ids: 262_200, applications: 13_087, longest: 175 },
  ...{ submitted: 13_087, approved: 2_246, declined: 7_635, cancelled: 2_807 },
};

const outcomes: Readonly<Record<string, string>> = {
  A_APPROVED: "approved",
  A_DECLINED: "declined",
  A_CANCELLED: "cancelled",
};

/** A row for each step, and one for each application that each of its steps changes. */
function loans(database: string, version: number, types: readonly string[]): SqlProjection {
  const handler: SqlHandler<{
    readonly id: string;
    readonly type: string;
    readonly streamName: string;
    readonly position: number;
  }> = (e, sql, { table, insert }) => {
    insert("steps", { position: e.position, id: e.id, application: e.streamName, type: e.type });
    const submitted = e.type === "A_SUBMITTED" ? 1 : 0;
    return sql`insert into ${table("applications")} as a (application, steps, submitted, outcome)
      values (${e.streamName}, 1, ${submitted}, ${outcomes[e.type] ?? null})
      on conflict (application) do update set
        steps = a.steps + 1, submitted = a.submitted + excluded.submitted, outcome = coalesce(excluded.outcome, a.outcome)`;
  };
  return defineSqlProjection("loans", {
    version,
    database,
    create: async (sql, { table }) => {
      await sql`create table ${table("steps")} (position bigint primary key, id text not null, application text not null, type text not null)`;
      await sql`create table ${table("applications")} (application text primary key, steps integer not null, submitted integer not null, outcome text)`;
    },
    on: Object.fromEntries(types.map((type) => [type, handler])),
  });
}

/** Only what was imported; events that arrived since have other applications. */
async function factsIn(sql: SQL): Promise<unknown> {
  const [steps] =
    await sql`select count(*) as events, count(distinct id) as ids from steps where application like 'loan-%'`;
  const [cases] = await sql`select count(*) as applications, max(steps) as longest, sum(submitted) as submitted,
    sum(case when outcome = 'approved' then 1 else 0 end) as approved,
    sum(case when outcome = 'declined' then 1 else 0 end) as declined,
    sum(case when outcome = 'cancelled' then 1 else 0 end) as cancelled
    from applications where application like 'loan-%'`;
  return Object.fromEntries(Object.entries({ ...steps, ...cases }).map(([name, value]) => [name, Number(value)]));
}

async function typesOf(store: EventStore): Promise<readonly string[]> {
  const types = new Set<string>();
  for await (const event of store.readAll()) types.add(event.type);
  return [...types];
}

describe.skipIf(!existsSync(file))("The real loan applications (needs the file of real events)", () => {
  test("come out of SQL as they were published, and out of a rebuild while more events arrive", async () => {
    await using place = await Workplace.make();
    expect((await place.importCounts(file)).imported).toBe(262_200);
    await using store = await openEventStore({ url: place.url });
    const types = await typesOf(store);
    for (const kind of databaseKinds) {
      if (!kind.available) continue;
      await using database = await kind.create();
      let last = await store.lastPosition();
      {
        await using running = runSqlProjections(store, [loans(database.url, 1, types)]);
        await running.waitFor("loans", last, { timeoutMs: 240_000 });
        expect(await factsIn(database.sql)).toEqual(published);
      }
      await using running = runSqlProjections(store, [loans(database.url, 2, types)]);
      await eventually(() => running.projections()[0]?.rebuild !== undefined);
      let arrived = 0;
      while (running.projections()[0]?.rebuild !== undefined) {
        arrived += 1;
        const streamName = `late-${kind.name}-${arrived}`;
        const events = [{ type: "A_SUBMITTED", data: {} }];
        last = (await store.append(streamName, events, { expectedVersion: "no-stream" })).position;
        await Bun.sleep(5);
      }
      await running.waitFor("loans", last);
      expect(await factsIn(database.sql)).toEqual(published);
      const [late] =
        await database.sql`select count(*) as count from steps where application like ${`late-${kind.name}-%`}`;
      expect(Number(late?.count)).toBe(arrived);
      expect(arrived).toBeGreaterThan(0);
    }
  }, 600_000);
});
