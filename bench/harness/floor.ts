/** The floor under an append: what the bare storage needs to take 4 KiB, one write after another. */

import { closeSync, fsyncSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openBarePuts } from "./bare-puts.ts";
import { folderOf, urlKindOf } from "./locations.ts";

export interface Floor {
  readonly name: string;
  write(worker: number, sequence: number): Promise<void>;
  close(): Promise<void>;
}

const bytes = Buffer.alloc(4_096, 0x61);

function appendAndSync(folder: string): Floor {
  const file = openSync(join(folder, "appended"), "a");
  return {
    name: "append+fsync",
    write: async () => {
      writeSync(file, bytes);
      fsyncSync(file);
    },
    close: async () => closeSync(file),
  };
}

/** What the engine's folder storage does: a file for each object, without a sync. */
function newFiles(folder: string): Floor {
  return {
    name: "new-file",
    write: async (_worker, sequence) => writeFileSync(join(folder, `object-${sequence}`), bytes, { flag: "wx" }),
    close: async () => {},
  };
}

/** Reaches the bucket by the `AWS_*` variables. */
function putObjects(url: string): Floor {
  const { put } = openBarePuts(url, {}, bytes.length);
  return { name: "put-object", write: put, close: async () => {} };
}

/** The floors of a URL's storage, open one at a time; none for memory. */
export async function openFloor(url: string): Promise<readonly Floor[]> {
  switch (urlKindOf(url)) {
    case "memory":
      return [];
    case "s3":
      return [putObjects(url)];
    case "folder": {
      const folder = folderOf(url) ?? "";
      mkdirSync(folder, { recursive: true });
      return [appendAndSync(folder), newFiles(folder)];
    }
  }
}
