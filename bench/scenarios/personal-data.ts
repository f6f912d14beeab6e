/** What encrypted fields cost: a box by itself, in both ways to the same bytes; appends and a replay with and without; forgetting. */

import { createCipheriv, createDecipheriv } from "node:crypto";
import * as v from "valibot";
import { defineEvents, type EventDefinitions, type EventStore, event, openEventStore } from "../../src/index.ts";
import { check, checkEqual, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { summarize } from "../harness/statistics.ts";

export interface PersonalDataSettings {
  readonly boxes: number;
  readonly events: number;
  readonly subjects: number;
  readonly forgotten: number;
}

type Context = ScenarioContext<PersonalDataSettings>;

const eventsACommit = 500;
const atOnce = 500;
const encryption = { masterKey: new Uint8Array(32).fill(7) };

/** Processor time, which says more than the clock where the machine is busy with other work. */
async function measured(what: string, n: number, work: () => unknown): Promise<Row> {
  const before = process.cpuUsage();
  const startedMs = performance.now();
  await work();
  const perSecond = (n * 1_000) / (performance.now() - startedMs);
  const { user, system } = process.cpuUsage(before);
  return { parameters: { what }, n, perSecond, extra: { "cpu us each": ((user + system) / n).toFixed(2) } };
}

async function boxes({ settings }: Context): Promise<readonly Row[]> {
  const n = settings.boxes;
  const [key, iv, additionalData] = [Buffer.alloc(32, 1), Buffer.alloc(12, 2), Buffer.alloc(96, 3)];
  const content = Buffer.from(
    JSON.stringify({ name: "Kim Possible", "address.street": "Main Street 42, the other side" }),
  );
  const sealOne = (): Buffer => {
    const cipher = createCipheriv("aes-256-gcm", key, iv);
    cipher.setAAD(additionalData);
    return Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()]);
  };
  const box = sealOne();
  const openOne = (): Buffer => {
    const decipher = createDecipheriv("aes-256-gcm", key, iv);
    decipher.setAAD(additionalData);
    decipher.setAuthTag(box.subarray(content.length));
    return Buffer.concat([decipher.update(box.subarray(0, content.length)), decipher.final()]);
  };
  const webKey = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt", "decrypt"]);
  const algorithm = { name: "AES-GCM", iv, additionalData };
  const webSeal = (): Promise<ArrayBuffer> => crypto.subtle.encrypt(algorithm, webKey, content);
  const webOpen = (): Promise<ArrayBuffer> => crypto.subtle.decrypt(algorithm, webKey, Uint8Array.from(box));
  check(Buffer.from(await webSeal()).equals(box), "both ways give the same bytes");
  check(openOne().equals(content) && Buffer.from(await webOpen()).equals(content), "a box opens to what was sealed");
  const each = (one: () => unknown) => async (): Promise<void> => {
    for (let index = 0; index < n; index += 1) await one();
  };
  const together = (one: () => Promise<unknown>) => async (): Promise<void> => {
    for (let index = 0; index < n; index += atOnce) await Promise.all(Array.from({ length: atOnce }, one));
  };
  const now = (one: () => unknown) => (): void => {
    for (let index = 0; index < n; index += 1) one();
  };
  return [
    await measured("seal a box, node:crypto", n, now(sealOne)),
    await measured("open a box, node:crypto", n, now(openOne)),
    await measured("seal a box, Web Crypto, awaited", n, each(webSeal)),
    await measured("open a box, Web Crypto, awaited", n, each(webOpen)),
    await measured(`open a box, Web Crypto, ${atOnce} at once`, n, together(webOpen)),
  ];
}

const schema = v.object({
  id: v.string(),
  name: v.string(),
  address: v.object({ street: v.string(), city: v.string() }),
});
const tags = ({ id }: { readonly id: string }): string[] => [`person:${id}`];
const plain = defineEvents("person", { Registered: event({ schema, tags }) });
const personal = defineEvents("person", {
  Registered: event({
    schema,
    tags,
    personal: { subject: ({ id }) => `person:${id}`, fields: ["name", "address.street"] },
  }),
});

async function fill(store: EventStore, round: number, { events, subjects }: PersonalDataSettings): Promise<void> {
  for (let at = 0; at < events; at += eventsACommit) {
    const list = Array.from({ length: Math.min(eventsACommit, events - at) }, (_, index) => {
      const id = String((at + index) % subjects);
      return {
        type: "Registered",
        data: { id, name: `Kim ${id}`, address: { street: `Main Street ${at}`, city: "Rome" } },
      };
    });
    await store.append(`person-${round}.${at}`, list, { expectedVersion: "no-stream" });
  }
}

async function replay(store: EventStore, expected: number): Promise<void> {
  let found = 0;
  for await (const { data } of store.readAll()) found += (data as { name: string | null }).name === null ? 0 : 1;
  checkEqual(found, expected, "events read with their names");
}

async function stores(context: Context): Promise<readonly Row[]> {
  const { settings } = context;
  const rows: Row[] = [];
  for (const [what, definitions] of [
    ["no personal fields", plain],
    ["two personal fields", personal],
  ] as const) {
    context.progress(what);
    const events = [definitions] as readonly EventDefinitions[] as readonly never[];
    const url = context.freshUrl(what.replaceAll(" ", "-"));
    await using store = await openEventStore({ url, events, encryption });
    const { subjects, events: n } = settings;
    for (const [round, whose] of ["new subjects", "known subjects"].entries()) {
      const row = `append, ${eventsACommit} a commit, ${what}, ${whose}`;
      rows.push(await measured(row, n, () => fill(store, round, settings)));
    }
    rows.push(await measured(`replay, ${what}`, 2 * n, () => replay(store, 2 * n)));
    if (definitions === plain) continue;
    const times: number[] = [];
    for (let subject = 0; subject < Math.min(settings.forgotten, subjects); subject += 1) {
      const startedMs = performance.now();
      const receipt = await store.forget(`person:${subject}`);
      times.push(performance.now() - startedMs);
      check(receipt.events > 0, "a forgotten subject had events");
    }
    const parameters = { what: `forget a subject of ${Math.floor((2 * n) / subjects)} events` };
    rows.push({ parameters, n: times.length, latencyMs: summarize(times) });
  }
  return rows;
}

export const personalData: Scenario<PersonalDataSettings> = {
  name: "personal-data",
  question:
    "What do encrypted fields cost an append, a replay and a subject that is forgotten, and which cipher is the faster?",
  sizes: {
    smoke: { boxes: 500, events: 1_000, subjects: 50, forgotten: 3 },
    quick: { boxes: 20_000, events: 20_000, subjects: 2_000, forgotten: 50 },
    full: { boxes: 100_000, events: 200_000, subjects: 20_000, forgotten: 200 },
  },
  run: async (context) => [...(await boxes(context)), ...(await stores(context))],
};
