/** The processes of `takeover`: each opens the store, or stands by for it, and then appends one event after another until it is ended. */

import { openEventStore } from "../../src/index.ts";

export interface WriterJob {
  readonly url: string;
  readonly takeover: "always" | "when-idle";
  /** Without it, the default for the place. */
  readonly leaseIntervalMs?: number;
}

/** One line of standard output. Times are by the wall clock of the machine. */
export type WriterLine =
  | { readonly kind: "waits" }
  | { readonly kind: "opened"; readonly atMs: number; readonly lastPosition: number }
  | { readonly kind: "acknowledged"; readonly atMs: number; readonly position: number };

function say(line: WriterLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const pauseMs = 5;

async function write({ url, takeover, leaseIntervalMs }: WriterJob): Promise<void> {
  say({ kind: "waits" });
  const interval = leaseIntervalMs === undefined ? {} : { leaseIntervalMs };
  const store = await openEventStore({ url, takeover, ...interval });
  let closing = false;
  const closed = Promise.withResolvers<void>();
  // `once` does not keep the process alive by itself; the loop does.
  process.once("SIGTERM", () => {
    closing = true;
    store.close().then(closed.resolve, closed.reject);
  });
  say({ kind: "opened", atMs: Date.now(), lastPosition: await store.lastPosition() });
  while (!closing) {
    const event = { type: "Ticked", data: { at: Date.now() } };
    const { position } = await store.append("clock-1", [event], { expectedVersion: "any" });
    say({ kind: "acknowledged", atMs: Date.now(), position });
    await Bun.sleep(pauseMs);
  }
  await closed.promise;
}

if (import.meta.main) {
  await write(JSON.parse(process.argv[2] ?? "null") as WriterJob).catch((error: unknown) => {
    // Closed under an append.
    const ended = error instanceof Error && "code" in error && error.code === "store-closed";
    if (!ended) throw error;
  });
  process.exit(0);
}
