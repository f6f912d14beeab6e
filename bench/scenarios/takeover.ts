/** A writer is killed, or closes its store, while another process stands by: how long until that one has acknowledged an append. */

import { fileURLToPath } from "node:url";
import { spawnBun } from "../harness/child-process.ts";
import { check, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { summarize } from "../harness/statistics.ts";
import type { WriterJob, WriterLine } from "./takeover-process.ts";

export interface TakeoverSettings {
  readonly runs: number;
  /** Without it, the default for the place: 2 s on a folder, 10 s on a bucket. */
  readonly leaseIntervalMs?: number;
}

type Ending = "kill" | "close";

const processFile = fileURLToPath(new URL("./takeover-process.ts", import.meta.url));
const signals = { kill: "SIGKILL", close: "SIGTERM" } as const;
/** Each run ends the writer at another moment between two renewals, of which there is no default above this. */
const phaseMsMax = 10_000;

class Writer {
  readonly #child: ReturnType<typeof spawnBun>;
  readonly #lines: AsyncGenerator<WriterLine>;

  constructor(job: WriterJob) {
    this.#child = spawnBun(processFile, [JSON.stringify(job)]);
    this.#lines = this.#read();
  }

  async hear<Kind extends WriterLine["kind"]>(kind: Kind): Promise<WriterLine & { readonly kind: Kind }> {
    for (let step = await this.#lines.next(); step.done !== true; step = await this.#lines.next()) {
      const line = step.value;
      if (line.kind === kind) return line as WriterLine & { readonly kind: Kind };
    }
    throw new Error(`A writer ended before it said ${kind}`);
  }

  /** Ends it by the signal; answers the last position that it had acknowledged. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<number> {
    this.#child.kill(signal);
    let position = 0;
    for await (const line of this.#lines) if (line.kind === "acknowledged") position = line.position;
    await this.#child.exited;
    return position;
  }

  async *#read(): AsyncGenerator<WriterLine> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of this.#child.stdout) {
      const lines = (text + decoder.decode(chunk, { stream: true })).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) yield JSON.parse(line) as WriterLine;
    }
  }
}

interface Gap {
  /** From the signal to the first append that the standby acknowledged. */
  readonly gapMs: number;
  /** Of that, from the standby's store being open. */
  readonly firstAppendMs: number;
}

async function takeOver(job: WriterJob, ending: Ending, phaseMs: number): Promise<Gap> {
  const writer = new Writer(job);
  await writer.hear("acknowledged");
  const standby = new Writer({ ...job, takeover: "when-idle" });
  await standby.hear("waits");
  await Bun.sleep(phaseMs);
  const endedAtMs = Date.now();
  const position = await writer.end(signals[ending]);
  const opened = await standby.hear("opened");
  const first = await standby.hear("acknowledged");
  await standby.end("SIGKILL");
  check(opened.lastPosition >= position, `${position} events were acknowledged, ${opened.lastPosition} are there`);
  return { gapMs: first.atMs - endedAtMs, firstAppendMs: first.atMs - opened.atMs };
}

async function rowOf(context: ScenarioContext<TakeoverSettings>, ending: Ending): Promise<Row> {
  const { runs, leaseIntervalMs } = context.settings;
  const interval = leaseIntervalMs === undefined ? {} : { leaseIntervalMs };
  const gaps: Gap[] = [];
  for (let index = 0; index < runs; index += 1) {
    context.progress(`${ending}, ${index + 1}`);
    const url = context.freshUrl(`${ending}-${index + 1}`);
    const phaseMs = 1_000 + ((leaseIntervalMs ?? phaseMsMax) * index) / runs;
    gaps.push(await takeOver({ url, takeover: "always", ...interval }, ending, phaseMs));
  }
  return {
    parameters: { after: ending },
    n: runs,
    latencyMs: summarize(gaps.map(({ gapMs }) => gapMs)),
    extra: {
      "lease interval ms": leaseIntervalMs ?? "default",
      "first append ms": Math.max(...gaps.map(({ firstAppendMs }) => firstAppendMs)),
    },
  };
}

async function run(context: ScenarioContext<TakeoverSettings>): Promise<readonly Row[]> {
  if (context.freshUrl("kill") === "memory:") {
    return [{ parameters: { after: "kill" }, n: 0, extra: { remark: "what is in memory nobody can take over" } }];
  }
  return [await rowOf(context, "kill"), await rowOf(context, "close")];
}

export const takeover: Scenario<TakeoverSettings> = {
  name: "takeover",
  question:
    "How long is there no writer after one was killed, or has closed, until its standby acknowledges an append?",
  sizes: {
    smoke: { runs: 1, leaseIntervalMs: 200 },
    quick: { runs: 3, leaseIntervalMs: 1_000 },
    full: { runs: 7 },
  },
  run,
};
