/**
 * Small objects beside the database, below the store's own folder or prefix: the port, and opening it for each kind of location.
 * Names are like keys of S3, but none may be the folder of another ("a" beside "a/b"): folders and MinIO cannot have both.
 * It writes nothing below `db/`, which is the engine's; it may read and list there.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import { systemClock } from "../runtime/clock.ts";
import { openFolderObjects } from "./folder-objects.ts";
import { openMemoryObjects } from "./memory-objects.ts";
import { checkObjectName } from "./object-names.ts";
import { databaseFolder, type S3Options, type StoreLocation } from "./object-store.ts";
import { openS3Objects } from "./s3-objects.ts";

/** An object's bytes, and the tag that stands for them in a later `put`. */
export interface StoredObject {
  readonly bytes: Uint8Array;
  /** Opaque. It says which bytes, not which write: the same bytes written again may have the same tag. */
  readonly tag: string;
}

/** An object as a listing shows it. */
export interface ObjectEntry {
  readonly name: string;
  readonly size: number;
  /** When it was last written, in milliseconds since 1970, by the clock of the storage. */
  readonly modifiedMs: number;
}

/** What must hold for a `put` to write; at most one of the two. */
export interface PutObjectOptions {
  /** Only where there is no object of this name. */
  readonly ifAbsent?: true;
  /** Only where the object has this tag. */
  readonly ifTag?: string;
}

/**
 * What the adapters do. Every call throws `storage-unavailable` where the storage does not answer or does not allow it (with
 * `outcome: "unknown"` for a write that may have happened), and `store-closed` after `close`.
 */
export interface ObjectAccess extends AsyncDisposable {
  /** The object as its last write left it, whole; `undefined` where there is none. */
  get(name: string): Promise<StoredObject | undefined>;
  /** Writes all of the object or nothing. `conflict`: the condition did not hold, and nothing was written. */
  put(name: string, bytes: Uint8Array, options?: PutObjectOptions): Promise<{ readonly tag: string } | "conflict">;
  /** Removes the object; that there is none is fine. */
  delete(name: string): Promise<void>;
  /** The objects whose names begin with `prefix`, in the order of their names; ones written meanwhile may be missing. */
  list(prefix: string): AsyncIterable<ObjectEntry>;
  /** Idempotent. It does not wait for calls that are under way. */
  close(): Promise<void>;
}

/** The most bytes that an object may have in `put`; all of it is in memory. */
export const objectBytesMax: number = 256 * 1024 * 1024;

/** The checks that all adapters have in common. */
function checked(access: ObjectAccess): ObjectAccess {
  return {
    get: async (name) => await access.get(checkObjectName(name)),
    put: async (name, bytes, options = {}) => {
      checkWritable(checkObjectName(name));
      if (bytes.length > objectBytesMax)
        throw new InvalidArgumentError("bytes", `must be at most ${objectBytesMax}, not ${bytes.length}`);
      if (options.ifAbsent === true && options.ifTag !== undefined)
        throw new InvalidArgumentError("options", "must have one of ifAbsent and ifTag, not both");
      return await access.put(name, bytes, options);
    },
    delete: async (name) => {
      checkWritable(checkObjectName(name));
      await access.delete(name);
    },
    list: (prefix) => access.list(prefix),
    close: () => access.close(),
    [Symbol.asyncDispose]: () => access.close(),
  };
}

function checkWritable(name: string): void {
  if (name.startsWith(`${databaseFolder}/`))
    throw new InvalidArgumentError("name", `must not be below ${databaseFolder}/, not ${printable(name)}`);
}

/**
 * Opens the objects beside the store at `location`. It asks nothing of the storage yet, and makes no folder and no bucket. `memory:`
 * gives objects of its own each time. Throws `invalid-argument` for options that fit no bucket.
 */
export async function openObjects(location: StoreLocation, s3: S3Options): Promise<ObjectAccess> {
  switch (location.kind) {
    case "memory":
      return checked(openMemoryObjects(systemClock));
    case "folder":
      return checked(openFolderObjects(location.directory));
    case "s3":
      return checked(openS3Objects(location, s3));
  }
}
