/** Opens the shop's store with everything that runs in it, and finds a place for its reporting database. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { EventStoreError, openEventStore } from "../index.ts";
import { orderEvents, paymentEvents, probeEvents, type Shop, shipmentEvents } from "./events.ts";
import { fulfilment, type Letters, letterWriter } from "./fulfilment.ts";
import { orderOverview, salesReport } from "./read-models.ts";

/** Where everything is, as the command line has it. */
export interface Premises {
  readonly url: string;
  readonly s3: { readonly endpoint?: string; readonly createBucket: boolean };
  /** The SQLite file of the sales report. */
  readonly reportFile: string;
}

/** A shop that is open, and the letters that it has written since. */
export interface OpenShop extends AsyncDisposable {
  readonly store: Shop;
  readonly letters: Letters;
}

function folderOf(path: string): string {
  try {
    return resolve(path.startsWith("//") ? decodeURIComponent(path.slice(2)) : path);
  } catch {
    // Opening the store says what is wrong with it.
    return resolve(path);
  }
}

/** In a store's folder the report lies beside it; a store elsewhere has it in a temporary folder, and so for this run only. */
export async function reportPlace(url: string): Promise<{ readonly path: string } & AsyncDisposable> {
  if (url.startsWith("file:")) {
    return { path: join(folderOf(url.slice("file:".length)), "sales.sqlite"), [Symbol.asyncDispose]: async () => {} };
  }
  const folder = await mkdtemp(join(tmpdir(), "strata-demo-"));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  return { path: join(folder, "sales.sqlite"), [Symbol.asyncDispose]: remove };
}

export async function openShop({ url, s3, reportFile }: Premises): Promise<OpenShop> {
  const { reactor, letters } = letterWriter();
  const store = await openEventStore({
    url,
    s3,
    events: [orderEvents, paymentEvents, shipmentEvents, probeEvents],
    projections: [orderOverview, salesReport(`sqlite:${reportFile}`)],
    reactors: [reactor],
    processManagers: [fulfilment],
    // That the first writer's processors stop when it is fenced is part of the story.
    onError: (error) => {
      if (!(error instanceof EventStoreError && error.code === "writer-fenced")) process.emitWarning(String(error));
    },
  });
  return { store, letters, [Symbol.asyncDispose]: () => store.close() };
}
