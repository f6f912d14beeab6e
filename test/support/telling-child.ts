/**
 * Opens the store at the given URL and appends for as long as it may, several at a time. On standard output, one JSON line
 * each, it tells of every append when it begins and what became of it, and at last why it stopped. Its parent stops, resumes
 * and kills it; `telling-process.ts` is the parent's side. What a bucket needs comes from the environment.
 */

import { EventStoreError, openEventStore } from "../../src/index.ts";

/** `atMs` is the wall clock's, which parent and child share. */
export type ToldLine =
  | { readonly kind: "open" }
  | { readonly kind: "begin"; readonly streamName: string; readonly ids: readonly string[]; readonly atMs: number }
  | { readonly kind: "acknowledged"; readonly id: string; readonly position: number; readonly streamVersion: number }
  | {
      readonly kind: "failed";
      readonly id: string;
      readonly code: string;
      readonly outcome: string | undefined;
      readonly atMs: number;
    }
  | { readonly kind: "stopped"; readonly state: string; readonly code: string | undefined };

const [url = "", name = ""] = process.argv.slice(2);
const appenders = 6;

function tell(line: ToldLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const store = await openEventStore({ url });
let serial = 0;

/** Until the store takes no more. */
async function appendOn(worker: number): Promise<void> {
  while (store.health().state === "open") {
    const streamName = `w${worker}-${serial % 5}`;
    const ids = Array.from({ length: 1 + (serial % 3) }, () => `${name}.${++serial}`);
    const [id = ""] = ids;
    tell({ kind: "begin", streamName, ids, atMs: Date.now() });
    try {
      const events = ids.map((one) => ({
        id: one,
        type: "T",
        data: { pad: "x".repeat(serial % 300) },
        tags: [`w:${worker}`],
      }));
      const { position, streamVersion } = await store.append(streamName, events, { expectedVersion: "any" });
      tell({ kind: "acknowledged", id, position, streamVersion });
    } catch (error) {
      if (!(error instanceof EventStoreError)) throw error;
      tell({ kind: "failed", id, code: error.code, outcome: error.outcome, atMs: Date.now() });
    }
  }
}

tell({ kind: "open" });
await Promise.all(Array.from({ length: appenders }, (_, worker) => appendOn(worker)));
const { state, error } = store.health();
tell({ kind: "stopped", state, code: error?.code });
await store.close().catch(() => {});
