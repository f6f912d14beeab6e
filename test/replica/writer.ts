/** A writer in a process of its own, from its parent's side: it can be killed as processes are. */

import { join } from "node:path";
import type { S3Options, StoreLocation } from "../../src/kv/object-store.ts";
import type { SlateTuning } from "../../src/kv/slatedb-settings.ts";
import { until } from "../support/collect.ts";
import type { Place } from "./places.ts";

export interface WriterTask {
  readonly location: StoreLocation;
  readonly s3: S3Options;
  readonly tuning: Partial<SlateTuning>;
  readonly workers: number;
  /** After so many commits it stays open and idle. */
  readonly commitsMax: number;
  /** The first worker's pause between two commits. */
  readonly pauseMs: number;
}

const defaults = { tuning: {}, workers: 4, commitsMax: Number.MAX_SAFE_INTEGER, pauseMs: 0 } as const;

export class WriterChild implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "inherit">;
  #acknowledged = -1;
  #ended = false;

  private constructor(task: WriterTask) {
    this.#process = Bun.spawn([process.execPath, join(import.meta.dir, "writer-child.ts"), JSON.stringify(task)], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#listen().finally(() => {
      this.#ended = true;
    });
  }

  /** Resolves when the store is open. */
  static async start({ location, s3 }: Place, task: Partial<WriterTask> = {}): Promise<WriterChild> {
    const child = new WriterChild({ ...defaults, location, s3, ...task });
    await child.reaches(0);
    return child;
  }

  /** The highest position that it has been answered. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  async reaches(position: number): Promise<void> {
    await until(() => this.#acknowledged >= position || this.#ended, 50_000);
    if (this.#acknowledged < position) throw new Error(`The writer ended at position ${this.#acknowledged}`);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #listen(): Promise<void> {
    const decoder = new TextDecoder();
    let pending = "";
    for await (const chunk of this.#process.stdout) {
      const lines = (pending + decoder.decode(chunk, { stream: true })).split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) this.#acknowledged = Math.max(this.#acknowledged, Number(line));
    }
  }
}
