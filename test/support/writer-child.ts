/**
 * A process that opens a store as the JSON in its first argument says, and appends one event after another for as long as it is let. It
 * says on standard output, one JSON line each, what happens to it; the word `close` on standard input closes the store.
 */

import { EventStoreError, type OpenOptions, openEventStore } from "../../src/index.ts";

/** What the child says; `atMs` by the wall clock of the machine. */
export type WriterSaid = { readonly atMs: number } & (
  | { readonly kind: "opening" }
  | { readonly kind: "open"; readonly lastPosition: number }
  | { readonly kind: "acknowledged"; readonly id: string; readonly position: number }
  | { readonly kind: "refused"; readonly code: string; readonly outcome: string | undefined }
  | {
      readonly kind: "fenced";
      readonly code: string;
      readonly by: string | undefined;
      readonly pid: number | undefined;
    }
  | { readonly kind: "closed" }
);

type Said = WriterSaid extends infer Each ? (Each extends unknown ? Omit<Each, "atMs"> : never) : never;

function say(said: Said): void {
  process.stdout.write(`${JSON.stringify({ ...said, atMs: Date.now() })}\n`);
}

const options: OpenOptions = JSON.parse(process.argv[2] ?? "{}");

say({ kind: "opening" });
const store = await openEventStore({
  ...options,
  onFenced: ({ error, takenOverBy }) => {
    say({ kind: "fenced", code: error.code, by: takenOverBy?.writerName, pid: takenOverBy?.pid });
  },
});
say({ kind: "open", lastPosition: await store.lastPosition() });

async function appendOn(): Promise<void> {
  for (let n = 1; ; n += 1) {
    const id = `${options.writerName}.${n}`;
    try {
      const { position } = await store.append("s-1", [{ id, type: "T", data: n }], { expectedVersion: "any" });
      say({ kind: "acknowledged", id, position });
    } catch (error) {
      if (!(error instanceof EventStoreError)) throw error;
      if (error.code === "store-closed") return;
      say({ kind: "refused", code: error.code, outcome: error.outcome });
      return;
    }
    // Fast enough to have one under way at any moment that matters, and no faster: the machine is shared.
    await Bun.sleep(5);
  }
}

const appending = appendOn();
for await (const line of console) {
  if (line !== "close") continue;
  await store.close();
  await appending;
  say({ kind: "closed" });
  break;
}
process.exit(0);
