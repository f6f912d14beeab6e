/**
 * Copies the small objects beside a database that belong to the store: keys of subjects, archives. The lease does not, for it is
 * that of a process. To be done after the rows were read, so that whatever they name is there; and what is gone from the source
 * goes from the copy, so that a key which was destroyed is not kept.
 */

import type { ObjectAccess } from "../kv/objects.ts";

/** Where objects stand that belong to a store. */
export const keysPrefix = "keys/";
export const archivesPrefix = "archive/";

export interface CopyObjectsOptions {
  readonly source: ObjectAccess;
  readonly target: ObjectAccess;
  readonly prefixes: readonly string[];
  /** Told after each object. */
  readonly onObject: (objects: number, bytes: number) => void;
}

export interface CopiedObjects {
  readonly objects: number;
  readonly bytes: number;
  /** By name the SHA-256 of each object of archives. */
  readonly archives: ReadonlyMap<string, Uint8Array>;
}

export async function copyObjects(options: CopyObjectsOptions): Promise<CopiedObjects> {
  const { source, target, prefixes, onObject } = options;
  const archives = new Map<string, Uint8Array>();
  let objects = 0;
  let bytes = 0;
  for (const prefix of prefixes) {
    const names = new Set<string>();
    for await (const { name } of source.list(prefix)) {
      const found = await source.get(name);
      // Removed since it was listed.
      if (found === undefined) continue;
      names.add(name);
      const there = await target.get(name);
      if (there === undefined || Buffer.compare(there.bytes, found.bytes) !== 0) await target.put(name, found.bytes);
      if (prefix === archivesPrefix) archives.set(name, new Bun.CryptoHasher("sha256").update(found.bytes).digest());
      objects += 1;
      bytes += found.bytes.length;
      onObject(objects, bytes);
    }
    const surplus: string[] = [];
    for await (const { name } of target.list(prefix)) if (!names.has(name)) surplus.push(name);
    for (const name of surplus) await target.delete(name);
  }
  return { objects, bytes, archives };
}
