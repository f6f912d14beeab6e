/** What the types say of personal fields: written as the schema has them, read with `null` where the subject may be forgotten. */

import * as v from "valibot";
import {
  defineDecider,
  defineEvents,
  type EventDefinition,
  type EventStore,
  event,
  type RecordedEventOf,
} from "../../src/index.ts";

const schema = v.object({
  id: v.string(),
  name: v.string(),
  address: v.optional(v.object({ street: v.string(), city: v.string() })),
  tags: v.array(v.string()),
});

const person = defineEvents("person", {
  Registered: event({
    schema,
    personal: { subject: ({ id }) => `person:${id}`, fields: ["name", "address.street", "tags"] },
  }),
  Moved: event({ schema: v.object({ city: v.string() }) }),
});

type Recorded = RecordedEventOf<typeof person>;
type Registered = Extract<Recorded, { readonly type: "Registered" }>["data"];

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Street = NonNullable<Registered["address"]>["street"];
type Moved = Extract<Recorded, { readonly type: "Moved" }>["data"];

const cases: [
  Equal<Registered["id"], string>,
  Equal<Registered["name"], string | null>,
  Equal<Registered["tags"], string[] | null>,
  Equal<Street, string | null>,
  Equal<NonNullable<Registered["address"]>["city"], string>,
  Equal<Moved, { city: string }>,
] = [true, true, true, true, true, true];

/** An annotation without fields means that none are personal. */
const plain: EventDefinition<typeof schema> = event({ schema });

async function writes(store: EventStore<typeof person>): Promise<void> {
  const data = { id: "1", name: "Kim", tags: [] };
  await store.append("person-1", [{ type: "Registered", data }], { expectedVersion: 0 });
  // @ts-expect-error: what is written is never null.
  await store.append("person-1", [{ type: "Registered", data: { ...data, name: null } }], { expectedVersion: 0 });
}

const decider: unknown = defineDecider("person", {
  events: person,
  commands: {},
  initialState: (): { name: string } => ({ name: "" }),
  evolve: {
    // @ts-expect-error: the name may be forgotten, and a state must say what then.
    Registered: (_, { data }) => ({ name: data.name }),
    Moved: (state) => state,
  },
  decide: {},
});

void [cases, plain, writes, decider];
