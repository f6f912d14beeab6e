/** Counts what is asked of the objects beside a database. What an S3 client repeats on its own is not seen. */

import type { RequestCounts } from "./object-store-stats.ts";
import { listPageObjects } from "./object-store-stats.ts";
import type { ObjectAccess, ObjectEntry, PutObjectOptions, StoredObject } from "./objects.ts";

export class CountedObjects implements ObjectAccess {
  readonly #objects: ObjectAccess;
  readonly #counts = { puts: 0, gets: 0, lists: 0, heads: 0, deletes: 0 };

  constructor(objects: ObjectAccess) {
    this.#objects = objects;
  }

  /** Calls so far, whether they succeeded or not. */
  get requests(): RequestCounts {
    return { ...this.#counts };
  }

  get(name: string): Promise<StoredObject | undefined> {
    this.#counts.gets += 1;
    return this.#objects.get(name);
  }

  put(name: string, bytes: Uint8Array, options?: PutObjectOptions): Promise<{ readonly tag: string } | "conflict"> {
    this.#counts.puts += 1;
    return this.#objects.put(name, bytes, options);
  }

  delete(name: string): Promise<void> {
    this.#counts.deletes += 1;
    return this.#objects.delete(name);
  }

  async *list(prefix: string): AsyncIterable<ObjectEntry> {
    let listed = 0;
    for await (const entry of this.#objects.list(prefix)) {
      if (listed % listPageObjects === 0) this.#counts.lists += 1;
      listed += 1;
      yield entry;
    }
    if (listed === 0) this.#counts.lists += 1;
  }

  close(): Promise<void> {
    return this.#objects.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
