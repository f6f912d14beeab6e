/**
 * Where a command writes its results: standard output or a file. Writing waits for the reader; a reader who goes away ends
 * the command quietly; any other failure is `output-failed`. Small writes are gathered.
 */

import { open } from "node:fs/promises";
import { PassThrough, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { CommandFailure, OutputClosed, systemCodeOf } from "./failure.ts";

const gatheredCharactersMax = 64 * 1024;

export interface Output {
  /** Takes text; what it returns, if anything, is to be waited for before the next write. */
  write(text: string): Promise<void> | undefined;
  /** Writes what is gathered. A file is complete then. */
  close(): Promise<void>;
}

function outputError(error: unknown, name: string): Error {
  const code = systemCodeOf(error);
  if (code === "EPIPE") return new OutputClosed("The reader of the output has gone");
  return new CommandFailure("output-failed", `The output cannot be written (${code ?? "unknown"}): ${name}`, error);
}

function gathering(target: Writable, name: string, finish: () => Promise<void>): Output {
  let gathered: string[] = [];
  let characters = 0;
  const flush = (): Promise<void> => {
    const text = gathered.join("");
    gathered = [];
    characters = 0;
    return new Promise((resolve, reject) => {
      target.write(text, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(outputError(error, name));
      });
    });
  };
  return {
    write: (text) => {
      gathered.push(text);
      characters += text.length;
      return characters >= gatheredCharactersMax ? flush() : undefined;
    },
    close: async () => {
      if (characters > 0) await flush();
      await finish();
    },
  };
}

export function standardOutput(): Output {
  // The write's own callback tells of the error; without a listener it would also end the process.
  process.stdout.on("error", () => {});
  return gathering(process.stdout, "standard output", async () => {});
}

/** A file, replaced if it is there; compressed if its name ends in `.gz`. */
export async function fileOutput(path: string): Promise<Output> {
  const handle = await open(path, "w").catch((error: unknown) => {
    throw outputError(error, path);
  });
  const file = handle.createWriteStream();
  const target = path.endsWith(".gz") ? createGzip() : new PassThrough();
  // A write that fails is told by its own callback; the end is told when the output is closed.
  const done = pipeline(target, file);
  done.catch(() => {});
  return gathering(target, path, async () => {
    target.end();
    await done.catch((error: unknown) => {
      throw outputError(error, path);
    });
  });
}
