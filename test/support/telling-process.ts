/** A store in a child process that tells what it does, from its parent's side: it keeps the ledger. See `telling-child.ts`. */

import { join } from "node:path";
import type { S3Options } from "../../src/kv/object-store.ts";
import type { Ledger, LedgerEntry } from "./ledger.ts";
import type { ToldLine } from "./telling-child.ts";

const script = join(import.meta.dir, "telling-child.ts");

interface Begun {
  readonly entry: LedgerEntry;
  readonly atMs: number;
}

export class TellingProcess implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #ledger: Ledger;
  readonly #begun = new Map<string, Begun>();
  readonly #ended: Promise<void>;
  #waiting: (() => void) | undefined;
  #resumedMs: number | undefined;
  acknowledged = 0;
  /** Acknowledged though it was begun after `resume`: nothing may be, where another writer has taken over. */
  acknowledgedByZombie = 0;
  /** From `resume` to the first append that failed. */
  noticedMs: number | undefined;
  stopped: (ToldLine & { kind: "stopped" }) | undefined;

  constructor(ledger: Ledger, url: string, name: string, s3: S3Options) {
    this.#ledger = ledger;
    this.#process = Bun.spawn([process.execPath, script, url, name], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
      env: {
        ...process.env,
        AWS_ENDPOINT_URL: s3.endpoint,
        AWS_REGION: s3.region,
        AWS_ACCESS_KEY_ID: s3.accessKeyId,
        AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
      },
    });
    this.#ended = this.#read();
  }

  /** Resolves when so many appends are acknowledged; rejects where the process ends before. */
  async untilAcknowledged(count: number): Promise<void> {
    const ended = this.#ended.then(() => {
      if (this.acknowledged < count) throw new Error(`The child ended after ${this.acknowledged} of ${count} appends`);
    });
    ended.catch(() => {});
    while (this.acknowledged < count) {
      const more = new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
      await Promise.race([more, ended]);
    }
  }

  /** SIGSTOP: it stands still in the middle of whatever it does. */
  stop(): void {
    this.#process.kill("SIGSTOP");
  }

  resume(): void {
    this.#resumedMs = Date.now();
    this.#process.kill("SIGCONT");
  }

  /** Resolves when it has ended by itself and all that it told is in the ledger. */
  async untilEnded(): Promise<void> {
    await this.#process.exited;
    await this.#ended;
  }

  /** SIGKILL; resolves when all that it told is in the ledger. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.untilEnded();
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
  }

  #take(line: ToldLine): void {
    switch (line.kind) {
      case "open":
        break;
      case "begin": {
        const { streamName, ids, atMs } = line;
        this.#begun.set(ids[0] ?? "", { entry: this.#ledger.begin([{ streamName, ids }]), atMs });
        break;
      }
      case "acknowledged":
        this.#acknowledge(line);
        break;
      case "failed": {
        const begun = this.#begun.get(line.id);
        if (begun !== undefined && line.outcome === "not-applied") begun.entry.fate = "not-applied";
        if (this.#resumedMs !== undefined) this.noticedMs ??= line.atMs - this.#resumedMs;
        break;
      }
      case "stopped":
        this.stopped = line;
    }
  }

  #acknowledge({ id, position, streamVersion }: ToldLine & { kind: "acknowledged" }): void {
    const begun = this.#begun.get(id);
    if (begun === undefined) throw new Error(`Acknowledged, and never begun: ${id}`);
    begun.entry.fate = "acknowledged";
    begun.entry.position = position;
    begun.entry.versions = [streamVersion];
    this.acknowledged += 1;
    if (this.#resumedMs !== undefined && begun.atMs >= this.#resumedMs) this.acknowledgedByZombie += 1;
    this.#waiting?.();
  }
}
