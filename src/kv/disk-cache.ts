/**
 * A bounded folder on a local disk in which the engine keeps parts of tables that it has read from a bucket, so that they are
 * read once, restarts included. The engine trusts it: names are those of the bucket's objects, nothing is checked against the
 * bucket, and writing to it fails in silence. So it is checked, given a folder for each store, and cleared of all but tables
 * at each open: tables have names that never come twice, manifests and WAL objects of a store made anew do not.
 */

import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { InvalidArgumentError, printable } from "../errors.ts";
import { databaseFolder, type StoreLocation } from "./object-store.ts";

/**
 * Where to keep what was read from a bucket, and how much of it. Damage in it is found by the engine's checksums: the tables in it
 * are thrown away, a read of single rows is repeated by itself, and a scan fails once as `storage-unavailable`.
 */
export interface DiskCacheOptions {
  /** An absolute path; made where it is not there. It may hold the caches of several stores. Local disks only. */
  readonly folder: string;
  /** The most bytes of this store in it, from 16 MiB; the least recently used go first. */
  readonly maxBytes: number;
}

export const diskCacheBytesMin: number = 16 * 1024 * 1024;

/** One cold read of the engine's own 4 MiB parts fetched 8.3 MB; of these, 0.5 MB. */
const partBytes = 256 * 1024;

export class DiskCache {
  readonly #root: string;
  readonly #tables: string;
  readonly #options: DiskCacheOptions;
  #emptied = false;

  private constructor(root: string, tables: string, options: DiskCacheOptions) {
    this.#root = root;
    this.#tables = tables;
    this.#options = options;
  }

  /** Makes it ready for a store. Throws `invalid-argument` where the folder cannot be made, listed and written to. */
  static async prepare(
    options: DiskCacheOptions,
    location: StoreLocation & { kind: "s3" },
    bucketUrl: string,
  ): Promise<DiskCache> {
    checkDiskCache(options);
    const place = [bucketUrl, location.bucket, location.prefix].join("\n");
    const name = new Bun.CryptoHasher("sha256").update(place);
    const root = join(options.folder, name.digest("hex").slice(0, 32));
    const database = join(root, location.prefix, databaseFolder);
    try {
      await mkdir(database, { recursive: true });
      for (const family of await readdir(database)) {
        if (family !== "compacted") await rm(join(database, family), { recursive: true, force: true });
      }
      const probe = join(root, `.writable-${process.pid}`);
      await writeFile(probe, "");
      await rm(probe, { force: true });
    } catch (cause) {
      const problem = "must name a folder in which files can be made";
      throw new InvalidArgumentError("cache.folder", `${problem}, not ${printable(options.folder)}`, { cause });
    }
    return new DiskCache(root, join(database, "compacted"), options);
  }

  /** Whether damage was found, and the tables in it were thrown away. */
  get emptied(): boolean {
    return this.#emptied;
  }

  /** The engine's settings for it. */
  get settings(): Readonly<Record<string, unknown>> {
    return {
      "object_store_cache_options.root_folder": this.#root,
      "object_store_cache_options.max_cache_size_bytes": this.#options.maxBytes,
      "object_store_cache_options.part_size_bytes": partBytes,
      // With it each commit group would also wait for this disk: 3.2 ms instead of 0.5.
      "object_store_cache_options.cache_puts": false,
      // The engine lists the folder once when it opens. A repeated listing would go on after the store is closed.
      "object_store_cache_options.scan_interval": null,
    };
  }

  /**
   * Throws away the tables in it, once in its life, and says whether it did: what was found damaged may be damaged only
   * here. The engine then reads the bucket again; if that is damaged too, a second call says so by doing nothing.
   */
  async emptyOnce(): Promise<boolean> {
    if (this.#emptied) return false;
    this.#emptied = true;
    await rm(this.#tables, { recursive: true, force: true });
    return true;
  }
}

/** Throws `invalid-argument` where the options are none. */
export function checkDiskCache({ folder, maxBytes }: DiskCacheOptions): void {
  if (typeof folder !== "string" || !isAbsolute(folder) || folder.includes("\0"))
    throw new InvalidArgumentError("cache.folder", `must be an absolute path, not ${printable(folder)}`);
  if (!Number.isSafeInteger(maxBytes) || maxBytes < diskCacheBytesMin)
    throw new InvalidArgumentError("cache.maxBytes", `must be an integer from ${diskCacheBytesMin}, not ${maxBytes}`);
}
