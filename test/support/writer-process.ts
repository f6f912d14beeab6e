/** A writer in a process of its own, from its parent's side: hear what it says, stop it, resume it, close it, kill it. */

import { join } from "node:path";
import type { OpenOptions } from "../../src/index.ts";
import type { WriterSaid } from "./writer-child.ts";

const script = join(import.meta.dir, "writer-child.ts");

export type SaidOf<Kind extends WriterSaid["kind"]> = WriterSaid & { readonly kind: Kind };

export class WriterProcess implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly said: WriterSaid[] = [];
  #heard = Promise.withResolvers<void>();
  readonly #ended: Promise<void>;

  constructor(options: Omit<OpenOptions, "onFenced" | "onError" | "signal" | "clock" | "ids" | "events">) {
    this.#process = Bun.spawn([process.execPath, script, JSON.stringify(options)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#ended = this.#read();
  }

  get pid(): number {
    return this.#process.pid;
  }

  all<Kind extends WriterSaid["kind"]>(kind: Kind): readonly SaidOf<Kind>[] {
    return this.said.filter((said): said is SaidOf<Kind> => said.kind === kind);
  }

  /** The first of its kind from `from` on in `said`, once it is said; rejects when the process ends without it. */
  async hear<Kind extends WriterSaid["kind"]>(kind: Kind, from = 0): Promise<SaidOf<Kind>> {
    for (;;) {
      const heard = this.#heard.promise;
      const found = this.said.slice(from).find((said): said is SaidOf<Kind> => said.kind === kind);
      if (found !== undefined) return found;
      const ended = await Promise.race([heard, this.#ended.then(() => "ended" as const)]);
      if (ended === "ended" && !this.said.slice(from).some((said) => said.kind === kind)) {
        throw new Error(`The writer ended before it said ${kind}: ${JSON.stringify(this.said.slice(-3))}`);
      }
    }
  }

  /** Closes the store; resolves when the process has ended. */
  async close(): Promise<void> {
    this.#process.stdin.write("close\n");
    this.#process.stdin.flush();
    await this.#ended;
  }

  /** SIGSTOP: the process stands still, and its clocks go on. */
  stop(): void {
    this.#process.kill("SIGSTOP");
  }

  resume(): void {
    this.#process.kill("SIGCONT");
  }

  /** SIGKILL; resolves when the process is gone and all it said is heard. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let pending = "";
    for await (const chunk of this.#process.stdout) {
      const lines = (pending + decoder.decode(chunk, { stream: true })).split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) this.said.push(JSON.parse(line));
      this.#heard.resolve();
      this.#heard = Promise.withResolvers();
    }
  }
}
