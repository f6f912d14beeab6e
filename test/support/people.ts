/** Events with personal data, and a storage that can be opened again with its keys: what the tests of erasure run on. */

import * as v from "valibot";
import {
  defineEvents,
  defineProjection,
  type EventDefinition,
  type EventDefinitions,
  type EventStore,
  event,
  type OpenOptions,
  type Projection,
} from "../../src/index.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openMemoryObjects } from "../../src/kv/memory-objects.ts";
import type { ObjectAccess } from "../../src/kv/objects.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type OpenedStore, openWithCore } from "../../src/store/open-event-store.ts";

/** Master keys of tests. */
export const masterKey: string = Buffer.alloc(32, 7).toString("base64");
export const otherMasterKey: string = Buffer.alloc(32, 9).toString("base64");
export const encryption: { readonly masterKey: string } = { masterKey };

export interface RegisteredData {
  readonly id: string;
  readonly name: string;
  readonly address?: { readonly street: string; readonly city: string } | undefined;
  readonly notes?: unknown;
  readonly plan: string;
}

interface RenamedData {
  readonly id: string;
  readonly name: string;
}

type People = EventDefinitions<
  "person",
  {
    readonly Registered: EventDefinition<v.GenericSchema<RegisteredData>, "name" | "address.street" | "notes">;
    readonly PlanChanged: EventDefinition<v.GenericSchema<{ readonly plan: string }>>;
    readonly Renamed: EventDefinition<v.GenericSchema<RenamedData>, "name">;
  }
>;

const address = v.object({ street: v.string(), city: v.string() });
const registeredSchema: v.GenericSchema<RegisteredData> = v.object({
  id: v.string(),
  name: v.string(),
  address: v.optional(address),
  notes: v.optional(v.unknown()),
  plan: v.string(),
});
const planSchema: v.GenericSchema<{ readonly plan: string }> = v.object({ plan: v.string() });
const renamedSchema: v.GenericSchema<RenamedData> = v.object({ id: v.string(), name: v.string() });

export const people: People = defineEvents("person", {
  Registered: event({
    schema: registeredSchema,
    tags: ({ id }) => [`person:${id}`],
    personal: { subject: ({ id }) => `person:${id}`, fields: ["name", "address.street", "notes"] },
  }),
  PlanChanged: event({ schema: planSchema }),
  Renamed: event({
    schema: renamedSchema,
    personal: { subject: ({ id }) => `person:${id}`, fields: ["name"] },
  }),
});

export type PeopleStore = EventStore<People>;

/** Somebody whose data is easy to find in bytes. */
export function registered(
  id: string,
  name = `Kim Xylophon-${id}`,
): {
  readonly type: "Registered";
  readonly data: RegisteredData;
} {
  return {
    type: "Registered",
    data: { id, name, address: { street: `Zitronengasse ${id}`, city: "Berlin" }, plan: "basic" },
  };
}

/** A store in memory that can be opened again, with its key objects at hand. */
export interface PeopleStorage {
  readonly events: People;
  readonly objects: ObjectAccess;
  open(options?: Partial<OpenOptions<People>>): Promise<OpenedStore<People>>;
}

export function peopleStorage(): PeopleStorage {
  const storage = createMemoryStorage();
  const objects = openMemoryObjects(systemClock);
  const shared: ObjectAccess = { ...objects, close: async () => {}, [Symbol.asyncDispose]: async () => {} };
  return {
    events: people,
    objects: shared,
    open: (options = {}) => openWithCore(openMemoryKv(storage), { events: [people], encryption, ...options }, shared),
  };
}

/** A card a person, which says that it holds personal data. */
export const nameCards: Projection<{ readonly name: string | null }> = defineProjection("name-cards", {
  version: 1,
  mode: "async",
  document: v.object({ name: v.nullable(v.string()) }),
  on: { Registered: ({ data }, docs) => docs.set(data.id, { name: data.name }) },
  personal: { keys: (subject) => [subject.slice("person:".length)] },
});
