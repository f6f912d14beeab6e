/** Commands at random: whatever happens at once, the outcome is that of some order, one after another. */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { DomainRefusal, type EventStore, type RecordedEvent, WriterFencedError } from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { collect } from "../support/collect.ts";
import { defineShow, foldShow, type ShowDecider, type ShowEvents, type ShowState, show } from "../support/show.ts";

setDefaultTimeout(60_000);

type ShowCommand = Parameters<EventStore<ShowEvents>["execute"]>[2] & {
  readonly type: keyof ShowDecider["decide"];
  readonly data: { readonly seat: number; readonly by: string; readonly why: string };
};

/** What decide makes of a state, worked out without Strata. */
function decideAlone(command: ShowCommand, state: ShowState): unknown {
  const { type, data } = command;
  const { seat, by, why } = data;
  if (type === "Reserve") {
    if (state.closed) return { refused: "closed" };
    if (state.seats[seat] === by) return [];
    return state.seats[seat] === undefined ? [{ type: "SeatReserved", data: { seat, by } }] : { refused: "taken" };
  }
  if (type === "Release") return state.seats[seat] === undefined ? [] : [{ type: "SeatReleased", data: { seat } }];
  if (state.closed) return [];
  const releases = Object.keys(state.seats).map((key) => ({ type: "SeatReleased", data: { seat: Number(key) } }));
  return [...releases, { type: "ShowClosed", data: { why } }];
}

const plain = ({ type, data }: RecordedEvent): unknown => ({ type, data });

const step = fc.record({
  id: fc.constantFrom("1", "2"),
  kind: fc.constantFrom("execute", "execute", "execute", "append", "pause"),
  command: fc.record({
    type: fc.constantFrom("Reserve", "Reserve", "Reserve", "Release", "Close"),
    data: fc.record({ seat: fc.integer({ min: 1, max: 4 }), by: fc.constantFrom("ann", "bob"), why: fc.constant("x") }),
  }),
});

interface Observed {
  readonly streamName: string;
  readonly command: ShowCommand;
  readonly fromVersion: number;
  toVersion: number;
  outcome: unknown;
}

test("Concurrent commands come to what some serial order of them comes to, and every state is the fold of its events", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 12 }),
      async (steps, every) => {
        const shows = defineShow({ snapshots: { version: 1, everyEvents: every } });
        await using store = await openEventStoreOn(openMemoryKv(createMemoryStorage()), { events: [show] });
        const versionOf = async (name: string) => (await store.streamInfo(name))?.version ?? 0;
        const observed: Observed[] = [];
        const underWay: Promise<unknown>[] = [];
        for (const { id, kind, command } of steps) {
          const streamName = `show-${id}` as const;
          if (kind === "pause") await underWay.at(-1);
          else if (kind === "append") {
            const event = { type: "SeatReserved", data: { seat: command.data.seat, by: "eve" } } as const;
            underWay.push(store.append(streamName, [event], { expectedVersion: "any" }));
          } else {
            const one: Observed = {
              streamName,
              command: command as ShowCommand,
              fromVersion: await versionOf(streamName),
              toVersion: 0,
              outcome: undefined,
            };
            observed.push(one);
            const executing = store
              .execute(shows, id, command as Parameters<typeof store.execute>[2] as never)
              .catch((error: unknown) => {
                if (error instanceof DomainRefusal) return error;
                throw error;
              })
              .then(async (outcome) => {
                one.outcome = outcome;
                one.toVersion = await versionOf(streamName);
              });
            underWay.push(executing);
          }
        }
        await Promise.all(underWay);
        for (const id of ["1", "2"]) {
          const events = await collect(store.readStream(`show-${id}`));
          expect(await store.load(shows, id)).toEqual({ state: foldShow(events), version: events.length });
          const stateAt = (version: number): ShowState => foldShow(events.slice(0, version));
          for (const { streamName, command, fromVersion, toVersion, outcome } of observed) {
            if (streamName !== `show-${id}`) continue;
            if (outcome instanceof DomainRefusal) {
              const possible = Array.from({ length: toVersion - fromVersion + 1 }, (_, index) => fromVersion + index);
              const refusals = possible.map((version) => decideAlone(command, stateAt(version)));
              expect(refusals).toContainEqual({ refused: outcome.reason });
              continue;
            }
            const done = outcome as Awaited<
              ReturnType<typeof store.execute<ShowState, ShowEvents, ShowDecider["commands"]>>
            >;
            const before = done.streamVersion - done.events.length;
            expect(before).toBeGreaterThanOrEqual(fromVersion);
            expect(done.events.map(plain)).toEqual(decideAlone(command, stateAt(before)) as unknown[]);
            expect(done.state).toEqual(stateAt(done.streamVersion));
            expect(done.events).toEqual(events.slice(before, done.streamVersion));
          }
        }
      },
    ),
    { numRuns: 150 },
  );
});

test("A writer that was taken over decides nothing on what it remembers", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const shows = defineShow();
      const storage = createMemoryStorage();
      const open = () => openEventStoreOn(openMemoryKv(storage), { events: [show] });
      const first = await open();
      const execute = (store: EventStore<ShowEvents>, { id, command }: (typeof steps)[number]) =>
        store.execute(shows, id, command as never).catch((error: unknown) => {
          if (error instanceof DomainRefusal) return error;
          throw error;
        });
      for (const one of steps) await execute(first, one);
      const second = await open();
      await second.append("show-1", [{ type: "ShowClosed", data: { why: "taken over" } }], { expectedVersion: "any" });
      const last = await second.lastPosition();
      for (const one of steps) {
        // Nothing to write is answered from what it knew; whatever would be written is not.
        const outcome = await execute(first, one).catch((error: unknown) => error);
        const written = outcome instanceof DomainRefusal || outcome instanceof WriterFencedError ? 0 : 1;
        if (written === 1) expect((outcome as { events: unknown[] }).events).toEqual([]);
      }
      expect(await second.lastPosition()).toBe(last);
      const reserve = { type: "Reserve", data: { seat: 9, by: "ann" } } as const;
      const outcome = await second.execute(shows, "1", reserve).catch((error: unknown) => error);
      expect(outcome).toMatchObject({ reason: "closed" });
      await first.close();
      await second.close();
    }),
    { numRuns: 60 },
  );
});
