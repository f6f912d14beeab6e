/** A byte store in memory whose writes wait until the test lets them go, or makes them fail. */

import type { EventStoreError } from "../../src/errors.ts";
import type { KeyValueStore, KvOperation } from "../../src/kv/kv.ts";
import { createMemoryStorage, type MemoryStorage, openMemoryKv } from "../../src/kv/memory-kv.ts";
import { forwardingKv } from "./forwarding-kv.ts";

export interface GatedKv {
  readonly kv: KeyValueStore;
  /** Writes that wait at the gate. */
  readonly waiting: () => number;
  /** Lets the writes that wait go on, and from now on all of them. */
  open(): void;
  /** Lets only those that wait now go on. */
  release(): void;
  shut(): void;
  /** The next write fails so, without being applied. */
  failNext(error: EventStoreError): void;
  /** The next scan fails so. */
  failNextScan(error: EventStoreError): void;
  /** The batches that were applied. */
  readonly batches: (readonly KvOperation[])[];
}

export function createGatedKv(storage: MemoryStorage = createMemoryStorage()): GatedKv {
  const inner = openMemoryKv(storage);
  const gate: (() => void)[] = [];
  const batches: (readonly KvOperation[])[] = [];
  let isOpen = true;
  let failure: EventStoreError | undefined;
  let scanFailure: EventStoreError | undefined;
  const release = (): void => {
    for (const pass of gate.splice(0)) pass();
  };
  const kv = forwardingKv(inner, {
    write: async (operations) => {
      if (!isOpen) await new Promise<void>((resolve) => gate.push(resolve));
      const error = failure;
      failure = undefined;
      if (error !== undefined) throw error;
      await inner.write(operations);
      batches.push(operations);
    },
    scan: async (range, purpose) => {
      const error = scanFailure;
      scanFailure = undefined;
      if (error !== undefined) throw error;
      return await inner.scan(range, purpose);
    },
  });
  return {
    kv,
    batches,
    waiting: () => gate.length,
    release,
    open: () => {
      isOpen = true;
      release();
    },
    shut: () => {
      isOpen = false;
    },
    failNextScan: (error) => {
      scanFailure = error;
    },
    failNext: (error) => {
      failure = error;
    },
  };
}
