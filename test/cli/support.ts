/** Runs the command line as a child process, in a folder of its own, and makes small inputs for it. */

import { setDefaultTimeout } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EventStore, openEventStore, type RecordedEvent } from "../../src/index.ts";
import { collect } from "../support/collect.ts";

// Each test starts several processes, on machines that may be busy.
setDefaultTimeout(60_000);

export const mainScript: string = join(import.meta.dir, "../../src/cli/main.ts");

export interface Finished {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string | Uint8Array;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** The parent's environment without what would choose a store. */
export function environment(
  own: Readonly<Record<string, string | undefined>> = {},
): Record<string, string | undefined> {
  return { ...process.env, STRATA_URL: undefined, STRATA_DEBUG: undefined, ...own };
}

function bytesOf(content: string | Uint8Array | undefined): Uint8Array | undefined {
  return typeof content === "string" ? Buffer.from(content) : content;
}

export async function strata(words: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const child = Bun.spawn([process.execPath, mainScript, ...words], {
    stdin: bytesOf(options.stdin) ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: environment(options.environment),
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

/** A folder for one test, and the store in it. */
export class Workplace implements AsyncDisposable {
  readonly folder: string;
  readonly url: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.url = `file:${join(folder, "store")}`;
  }

  static async make(): Promise<Workplace> {
    return new Workplace(await mkdtemp(join(tmpdir(), "strata-cli-")));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  urlOf(name: string): string {
    return `file:${this.path(name)}`;
  }

  /** Writes a file and answers its path. */
  async file(name: string, content: string | Uint8Array): Promise<string> {
    await Bun.write(this.path(name), content);
    return this.path(name);
  }

  async import(file: string, ...words: readonly string[]): Promise<Finished> {
    return await strata(["import", file, "--url", this.url, ...words]);
  }

  /** What an import of the file says of itself as JSON. */
  async importCounts(file: string, ...words: readonly string[]): Promise<Record<string, unknown>> {
    const { stdout } = await this.import(file, "--json", ...words);
    return JSON.parse(stdout);
  }

  async open(url: string = this.url): Promise<EventStore> {
    return await openEventStore({ url });
  }

  /** All events of the store, in order. */
  async events(url: string = this.url): Promise<readonly RecordedEvent[]> {
    await using store = await this.open(url);
    return await collect(store.readAll());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** One CloudEvent; an attribute that is `undefined` is left out. */
export function cloudEvent(attributes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    specversion: "1.0",
    id: "1",
    source: "/test",
    type: "Happened",
    subject: "order-1",
    data: {},
    ...attributes,
  };
}

export function line(attributes: Readonly<Record<string, unknown>> = {}): string {
  return `${JSON.stringify(cloudEvent(attributes))}\n`;
}

/** So many events over so many streams, one after another in turn. */
export function manyLines(events: number, streams: number): string {
  const lines: string[] = [];
  for (let index = 0; index < events; index += 1) {
    const subject = `order-${index % streams}`;
    lines.push(line({ id: `e-${index}`, subject, data: { index } }));
  }
  return lines.join("");
}
