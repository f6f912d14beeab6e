/**
 * The input of an import: a file or standard input, plain or compressed, in pieces as they come. Never the whole of it in
 * memory. What is wrong with it is told as `not-found`, `input-failed` or, for damaged compression, `bad-input`.
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { CommandFailure, systemCodeOf } from "./failure.ts";

const pieceBytes = 256 * 1024;

export interface Input {
  /** How many bytes there are to read, where that is known. */
  readonly sizeBytes: number | undefined;
  /** How many of them have been read. */
  readonly readBytes: number;
  /** The content, decompressed. To be read once. */
  pieces(): AsyncIterable<Buffer>;
}

/** `name`: a path, or `-` for standard input. */
export async function openInput(name: string): Promise<Input> {
  const sizeBytes = name === "-" ? undefined : await sizeOf(name);
  let readBytes = 0;
  const source = name === "-" ? process.stdin : createReadStream(name, { highWaterMark: pieceBytes });
  const counted = async function* (): AsyncGenerator<Buffer> {
    try {
      for await (const piece of source) {
        readBytes += piece.length;
        yield typeof piece === "string" ? Buffer.from(piece) : piece;
      }
    } catch (error) {
      throw inputError(error, name);
    }
  };
  return {
    sizeBytes,
    get readBytes() {
      return readBytes;
    },
    pieces: () => decompressed(counted(), name),
  };
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new CommandFailure("input-failed", `The input is a folder: ${path}`);
    return found.isFile() ? found.size : undefined;
  } catch (error) {
    throw error instanceof CommandFailure ? error : inputError(error, path);
  }
}

function inputError(error: unknown, name: string): CommandFailure {
  const code = systemCodeOf(error);
  if (code === "ENOENT") return new CommandFailure("not-found", `There is no such input file: ${name}`, error);
  return new CommandFailure("input-failed", `The input cannot be read (${code ?? "unknown"}): ${name}`, error);
}

/** Joins pieces until the first has at least two bytes, which say whether the content is compressed. */
async function* withFullStart(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let start: Buffer | undefined = Buffer.alloc(0);
  for await (const piece of pieces) {
    if (start === undefined) {
      yield piece;
      continue;
    }
    start = Buffer.concat([start, piece]);
    if (start.length < 2) continue;
    yield start;
    start = undefined;
  }
  if (start !== undefined && start.length > 0) yield start;
}

async function* decompressed(raw: AsyncIterable<Buffer>, name: string): AsyncGenerator<Buffer> {
  const pieces = withFullStart(raw);
  const first = await pieces.next();
  if (first.done === true) return;
  const whole = async function* (): AsyncGenerator<Buffer> {
    yield first.value;
    yield* pieces;
  };
  try {
    if (first.value[0] !== 0x1f || first.value[1] !== 0x8b) yield* whole();
    else yield* gunzipped(whole(), name);
  } finally {
    // Whoever stops early lets go of the source: standard input would keep the process waiting.
    await pieces.return(undefined);
  }
}

async function* gunzipped(pieces: AsyncIterable<Buffer>, name: string): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: pieceBytes });
  const source = Readable.from(pieces);
  source.on("error", (error) => gunzip.destroy(error));
  source.pipe(gunzip);
  try {
    for await (const piece of gunzip) yield piece;
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    const problem = systemCodeOf(error) ?? "unknown";
    throw new CommandFailure("bad-input", `The input's compression is damaged or cut off (${problem}): ${name}`, error);
  } finally {
    source.destroy();
  }
}
