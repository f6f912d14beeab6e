/** Appends, forgettings and restarts in any order: what is read agrees with a trivial model. */

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { collect } from "../support/collect.ts";
import { peopleStorage, registered } from "../support/people.ts";

setDefaultTimeout(60_000);

type Command =
  | { readonly kind: "append"; readonly people: readonly number[]; readonly stream: number }
  | { readonly kind: "forget"; readonly person: number }
  | { readonly kind: "reopen" }
  | { readonly kind: "rotate" };

const person = fc.integer({ min: 0, max: 4 });
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      people: fc.array(person, { minLength: 1, maxLength: 4 }),
      stream: fc.integer({ min: 0, max: 2 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("forget" as const), person }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("rotate" as const) }) },
);

interface Expected {
  readonly person: number;
  name: string | null;
}

test("A store with forgotten subjects equals a trivial model of it", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 25 }), async (commands) => {
      const storage = peopleStorage();
      let { store } = await storage.open();
      const streams: Expected[][] = [[], [], []];
      let named = 0;
      const nextName = (): string => {
        named += 1;
        return `name ${named}`;
      };
      for (const one of commands) {
        switch (one.kind) {
          case "append": {
            const events = one.people.map((id) => registered(`${id}`, nextName()));
            await store.append(`person-${one.stream}`, events, { expectedVersion: "any" });
            streams[one.stream]?.push(...events.map(({ data }) => ({ person: Number(data.id), name: data.name })));
            break;
          }
          case "forget": {
            const own = streams.flat().filter((event) => event.person === one.person);
            const forgetting = store.forget(`person:${one.person}`);
            if (own.length === 0) await expect(forgetting).rejects.toMatchObject({ code: "invalid-argument" });
            else {
              const replayed = own.every(({ name }) => name === null);
              expect(await forgetting).toMatchObject({ events: own.length, replayed });
            }
            for (const event of own) event.name = null;
            break;
          }
          case "reopen":
            await store.close();
            ({ store } = await storage.open());
            break;
          case "rotate":
            expect(await store.rotateKeys()).toMatchObject({ rewrapped: 0, damaged: [] });
        }
        for (const [index, expected] of streams.entries()) {
          const found = await collect(store.readStream(`person-${index}`));
          expect(found.map(({ data }) => (data as { name: string | null }).name)).toEqual(
            expected.map(({ name }) => name),
          );
        }
      }
      await store.close();
    }),
    { numRuns: 60 },
  );
});
