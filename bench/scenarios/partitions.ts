/** Appends to a store in partitions: many in one process, and shared out among several. */

import { fileURLToPath } from "node:url";
import { openPartitionedEventStore, type S3Options } from "../../src/index.ts";
import { check, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import type { PartitionsJob, PartitionsResult } from "./partitions-process.ts";

export interface PartitionsSettings {
  /** Processes and partitions; each process writes its share of them. */
  readonly layouts: readonly (readonly [number, number])[];
  /** In all processes together. */
  readonly appenders: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
}

const processFile = fileURLToPath(new URL("./partitions-process.ts", import.meta.url));

class Worker {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #text = "";

  constructor(job: PartitionsJob) {
    const options = { stdin: "pipe", stdout: "pipe", stderr: "inherit" } as const;
    this.#child = Bun.spawn([process.execPath, processFile, JSON.stringify(job)], options);
    this.#chunks = this.#child.stdout[Symbol.asyncIterator]();
    process.once("exit", () => this.#child.kill("SIGKILL"));
  }

  async line(): Promise<string> {
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return line;
      }
      const { done, value } = await this.#chunks.next();
      if (done === true) throw new Error("A process of the bench ended early");
      this.#text += Buffer.from(value).toString();
    }
  }

  start(): void {
    this.#child.stdin.write("go\n");
    this.#child.stdin.flush();
  }

  async end(): Promise<void> {
    await this.#child.exited;
  }
}

/** What a layout is measured with. */
export interface PartitionsLoad {
  readonly url: string;
  readonly s3?: S3Options;
  readonly processes: number;
  readonly partitions: number;
  /** In all processes together. */
  readonly appenders: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
}

/** Appends to a new store in partitions and looks that all of it is there; a result for each process. */
export async function appendToPartitions(load: PartitionsLoad): Promise<readonly PartitionsResult[]> {
  const { url, s3 = {}, processes, partitions, appenders, warmUpMs, durationMs } = load;
  const workers: Worker[] = [];
  for (let number = 0; number < processes; number += 1) {
    const write = Array.from({ length: partitions }, (_, index) => index).filter(
      (index) => index % processes === number,
    );
    const job = { url, s3, partitions, write, appenders: appenders / processes, warmUpMs, durationMs };
    workers.push(new Worker(job));
    // The first one makes the store.
    check((await workers.at(-1)?.line()) === "ready", "a process did not get ready");
  }
  for (const worker of workers) worker.start();
  const lines = await Promise.all(workers.map((worker) => worker.line()));
  await Promise.all(workers.map((worker) => worker.end()));
  const results = lines.map((line) => JSON.parse(line) as PartitionsResult);
  const options = { url, s3, partitions, write: "none", partitionOf: () => 0 } as const;
  await using store = await openPartitionedEventStore(options);
  const last = await store.lastPositions();
  check(
    last.every((position) => position > 0),
    "a partition is empty",
  );
  const stored = last.reduce((sum, position) => sum + position, 0);
  check(stored >= results.reduce((sum, { appends }) => sum + appends, 0), "acknowledged events are missing");
  return results;
}

async function measure(
  { settings, freshUrl, progress }: ScenarioContext<PartitionsSettings>,
  processes: number,
  partitions: number,
): Promise<Row> {
  const { appenders, warmUpMs, durationMs } = settings;
  progress(`${processes} processes, ${partitions} partitions`);
  const url = freshUrl(`${processes}-${partitions}`);
  const results = await appendToPartitions({ url, processes, partitions, appenders, warmUpMs, durationMs });
  const n = results.reduce((sum, { appends }) => sum + appends, 0);
  const perSecond = results.reduce((sum, { appends, elapsedMs }) => sum + (appends * 1_000) / elapsedMs, 0);
  return { parameters: { processes, partitions }, n, perSecond };
}

async function run(context: ScenarioContext<PartitionsSettings>): Promise<readonly Row[]> {
  if (context.freshUrl("kind") === "memory:") {
    return [{ parameters: { processes: 1 }, n: 0, extra: { remark: "memory cannot be shared among processes" } }];
  }
  const rows: Row[] = [];
  for (const [processes, partitions] of context.settings.layouts) {
    rows.push(await measure(context, processes, partitions));
  }
  return rows;
}

export const partitions: Scenario<PartitionsSettings> = {
  name: "partitions",
  question: "How many appends a second do several partitions take, written by one process or shared out among several?",
  sizes: {
    smoke: {
      layouts: [
        [1, 2],
        [2, 2],
      ],
      appenders: 16,
      warmUpMs: 10,
      durationMs: 50,
    },
    quick: {
      layouts: [
        [1, 1],
        [1, 4],
        [2, 4],
      ],
      appenders: 512,
      warmUpMs: 300,
      durationMs: 1_000,
    },
    full: {
      layouts: [
        [1, 1],
        [1, 4],
        [1, 16],
        [2, 2],
        [2, 16],
      ],
      appenders: 1_024,
      warmUpMs: 1_500,
      durationMs: 5_000,
    },
  },
  run,
};
