/** A reader in a process of its own that can be stopped; see `reader-child.ts`. */

import { join } from "node:path";
import type { ReaderTask } from "./reader-child.ts";

/** A reader in a process of its own, from its parent's side. */
export class ReaderChild implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncIterator<string>;

  private constructor(task: ReaderTask) {
    const script = join(import.meta.dir, "reader-child.ts");
    this.#process = Bun.spawn([process.execPath, script, JSON.stringify(task)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#lines = linesOf(this.#process.stdout);
  }

  /** Resolves when the reader is open. */
  static async start(task: ReaderTask): Promise<ReaderChild> {
    const child = new ReaderChild(task);
    await child.#lines.next();
    return child;
  }

  async health(): Promise<{ state: string; lastPosition: number; readersLost: number }> {
    return JSON.parse(await this.#ask("health"));
  }

  /** How many events it read when it read everything several times at once. */
  async readAtOnce(): Promise<number> {
    return JSON.parse(await this.#ask("read"));
  }

  signal(name: "SIGSTOP" | "SIGCONT"): void {
    this.#process.kill(name);
  }

  async #ask(line: string): Promise<string> {
    this.#process.stdin.write(`${line}\n`);
    await this.#process.stdin.flush();
    return (await this.#lines.next()).value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const chunk of stream) {
    const lines = (pending + decoder.decode(chunk, { stream: true })).split("\n");
    pending = lines.pop() ?? "";
    yield* lines;
  }
}
