/** A byte store in a child process, from its parent's side: ask it, stop it, resume it, kill it. See `child-store.ts`. */

import { join } from "node:path";
import type { S3Options, StoreLocation } from "../../src/kv/object-store.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import type { ChildAnswer, ChildFailure, ChildRequest, ChildValue } from "./child-store.ts";

/** The child's call failed with an error of ours. */
export class ChildError extends Error {
  readonly failure: ChildFailure;

  constructor(failure: ChildFailure) {
    super(`${failure.code} (${failure.outcome ?? "no outcome"}): ${failure.message}`);
    this.failure = failure;
  }
}

interface Asked {
  readonly resolve: (value: ChildValue) => void;
  readonly reject: (error: Error) => void;
}

const script = join(import.meta.dir, "child-store.ts");

export class StoreChild implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit" | "pipe">;
  readonly #asked = new Map<number, Asked>();
  #ids = 0;
  #acknowledged = 0;
  #waiting: { readonly count: number; readonly resolve: () => void } | undefined;

  /** Its environment is the parent's with `environment` over it. `stderr`: "pipe" for `errors` to have it. */
  constructor(environment?: Readonly<Record<string, string | undefined>>, stderr: "inherit" | "pipe" = "inherit") {
    this.#process = Bun.spawn([process.execPath, script], {
      stdin: "pipe",
      stdout: "pipe",
      stderr,
      env: { ...process.env, ...environment },
    });
    this.#read().catch(() => {});
  }

  /** All keys below this number were acknowledged by `writeOn`. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Rejects with `ChildError`, or with another error when the process ends first. */
  ask(request: ChildRequest): Promise<ChildValue> {
    this.#ids += 1;
    const id = this.#ids;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#process.stdin.write(`${JSON.stringify({ id, request })}\n`);
      this.#process.stdin.flush();
    });
  }

  async open(location: StoreLocation, tuning: Partial<SlateTuning> = {}, s3: S3Options = {}): Promise<void> {
    await this.ask({ kind: "open", location, s3, tuning });
  }

  async write(keys: readonly number[], valueBytes = 10): Promise<void> {
    await this.ask({ kind: "write", keys, valueBytes });
  }

  /** Has it write groups for ever; resolves when all keys below `until` are acknowledged. */
  async writeOn(options: { from: number; until: number; groupKeys: number; valueBytes: number }): Promise<void> {
    const { from, until, groupKeys, valueBytes } = options;
    const reached = new Promise<void>((resolve) => {
      this.#waiting = { count: until, resolve };
    });
    const writing = this.ask({ kind: "write-on", from, groupKeys, valueBytes });
    // Ends only when it fails, or the process does.
    writing.catch(() => {});
    await Promise.race([reached, writing]);
  }

  async keys(): Promise<readonly number[]> {
    const keys = await this.ask({ kind: "keys" });
    return Array.isArray(keys) ? keys : [];
  }

  async close(): Promise<void> {
    await this.ask({ kind: "close" });
  }

  /** All that it wrote to stderr; resolves when it has ended. */
  async errors(): Promise<string> {
    const { stderr } = this.#process;
    return stderr instanceof ReadableStream ? await new Response(stderr).text() : "";
  }

  /** SIGSTOP: the process stands still, and its clocks go on. */
  stop(): void {
    this.#process.kill("SIGSTOP");
  }

  resume(): void {
    this.#process.kill("SIGCONT");
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
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
      for (const line of lines) this.#take(JSON.parse(line));
    }
    for (const { reject } of this.#asked.values()) reject(new Error("The child process ended"));
    this.#asked.clear();
  }

  #take(answer: ChildAnswer): void {
    if ("acknowledged" in answer) {
      this.#acknowledged = answer.acknowledged;
      if (answer.acknowledged >= (this.#waiting?.count ?? Number.POSITIVE_INFINITY)) this.#waiting?.resolve();
      return;
    }
    const asked = this.#asked.get(answer.id);
    this.#asked.delete(answer.id);
    if ("failure" in answer) asked?.reject(new ChildError(answer.failure));
    else asked?.resolve(answer.value);
  }
}
