/** The byte stores that the store's own suites run on, each as a fresh storage that can be opened again and again. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KeyValueStore } from "../../src/kv/kv.ts";
import { createMemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { openSlateKv } from "../../src/kv/slatedb-kv.ts";
import { systemClock } from "../../src/runtime/clock.ts";

export interface Storage extends AsyncDisposable {
  open(): Promise<KeyValueStore>;
}

export interface Backend {
  readonly name: string;
  /** Whether what one open has written is there for the next. */
  readonly reopens: boolean;
  create(): Promise<Storage>;
}

export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "strata-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export const memoryBackend: Backend = {
  name: "memory",
  reopens: true,
  create: async () => {
    const storage = createMemoryStorage();
    return { open: async () => openMemoryKv(storage), [Symbol.asyncDispose]: async () => {} };
  },
};

export const slateMemoryBackend: Backend = {
  name: "SlateDB in memory",
  reopens: false,
  create: async () => ({
    open: () => openSlateKv({ location: { kind: "memory", url: "memory:" }, s3: {}, clock: systemClock }),
    [Symbol.asyncDispose]: async () => {},
  }),
};

export const slateFolderBackend: Backend = {
  name: "SlateDB on a folder",
  reopens: true,
  create: async () => {
    const folder = await temporaryFolder();
    const location = { kind: "folder", url: `file:${folder.path}`, directory: folder.path } as const;
    return {
      open: () => openSlateKv({ location, s3: {}, clock: systemClock }),
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    };
  },
};

export const backends: readonly Backend[] = [memoryBackend, slateMemoryBackend, slateFolderBackend];
