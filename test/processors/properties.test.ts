/** Whatever the history: inline, async, live and rebuilt documents are the same, and the same as a fold over the log. */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { openEventStoreOn } from "../../src/store/open-event-store.ts";
import { type Backend, memoryBackend, slateFolderBackend } from "../support/backends.ts";
import { collect } from "../support/collect.ts";
import { shopEvents, totals, totalsOf } from "../support/shop.ts";

setDefaultTimeout(60_000);

interface Placing {
  readonly stream: number;
  readonly cancels: boolean;
  readonly customer: string;
  readonly total: number;
}

type Step = { readonly kind: "commits"; readonly commits: readonly Placing[][] } | { readonly kind: "reopen" };

const placing: fc.Arbitrary<Placing> = fc.record({
  stream: fc.integer({ min: 0, max: 3 }),
  cancels: fc.boolean(),
  customer: fc.constantFrom("ann", "bob", "c\u0000y", "zoë"),
  total: fc.integer({ min: 0, max: 9 }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("commits" as const),
      commits: fc.array(fc.array(placing, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 12 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: "reopen" }) },
);

async function holds(backend: Backend, steps: readonly Step[]): Promise<void> {
  await using storage = await backend.create();
  const versions = [1, 1];
  const opened = async (version: number) => {
    const projections = {
      inline: totals("inline", "inline", version),
      behind: totals("behind", "async", version),
      live: totals("live", "live"),
    };
    const options = { events: shopEvents, projections: Object.values(projections) };
    return { projections, store: await openEventStoreOn(await storage.open(), options) };
  };
  let { projections, store } = await opened(versions[0] ?? 1);
  try {
    for (const [index, { kind, ...rest }] of steps.entries()) {
      if (kind === "reopen") {
        await store.close();
        // A higher version has both of them built anew.
        versions[0] = (versions[0] ?? 1) + (index % 2);
        ({ projections, store } = await opened(versions[0]));
        continue;
      }
      const { commits } = rest as { commits: readonly Placing[][] };
      const appends = commits.map((events, n) =>
        store.append(
          `order-${events[0]?.stream ?? 0}`,
          events.map(({ cancels, customer, total }) => ({
            type: cancels ? "OrderCancelled" : "OrderPlaced",
            data: { customer, total },
          })),
          // Some are rejected, among others of their group.
          { expectedVersion: n % 5 === 4 ? 1 : "any" },
        ),
      );
      await Promise.allSettled(appends);
    }
    const log = await collect(store.readAll());
    const last = await store.lastPosition();
    const expected = [...totalsOf(log)].toSorted(([one], [other]) =>
      Buffer.compare(Buffer.from(one), Buffer.from(other)),
    );
    const same = async (): Promise<void> => {
      for (const projection of Object.values(projections)) {
        const documents = store.documents(projection);
        expect(await collect(documents.list({ atLeast: last }))).toEqual(expected);
        for (const count of [1, 2, 3]) {
          const found = await collect(documents.find("byOrders", `n${count}`));
          expect(found).toEqual(expected.filter(([, { orders }]) => orders === count));
        }
      }
    };
    await same();
    await store.rebuild("inline");
    await store.rebuild("behind");
    await same();
  } finally {
    await store.close();
  }
}

test("Inline, async, live and rebuilt documents are the same for any history (memory)", async () => {
  const property = fc.asyncProperty(fc.array(step, { maxLength: 8 }), (steps) => holds(memoryBackend, steps));
  await fc.assert(property, { numRuns: 60 });
});

test("Inline, async, live and rebuilt documents are the same for any history (SlateDB on a folder)", async () => {
  const property = fc.asyncProperty(fc.array(step, { maxLength: 5 }), (steps) => holds(slateFolderBackend, steps));
  await fc.assert(property, { numRuns: 8 });
});
