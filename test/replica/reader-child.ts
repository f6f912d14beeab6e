/**
 * Opens a reader as it is told and answers each line it is sent, to be stopped and resumed from outside: `health` says how
 * it is, `read` reads everything several times at once and says how many events that were.
 */

import type { ReaderOptions } from "../../src/index.ts";
import type { SlateReaderTuning } from "../../src/kv/slatedb-reader-tuning.ts";
import { openTunedReader } from "../../src/store/open-event-store-reader.ts";
import { collect } from "../support/collect.ts";

export interface ReaderTask {
  readonly options: Pick<ReaderOptions, "url" | "s3" | "pollIntervalMs">;
  readonly tuning: Partial<SlateReaderTuning>;
}

const task: ReaderTask = JSON.parse(process.argv[2] ?? "{}");
const reader = await openTunedReader(task.options, task.tuning);

async function readAtOnce(): Promise<number> {
  const names = (await collect(reader.listStreams())).map(({ streamName }) => streamName);
  const everything = Array.from({ length: 4 }, () => collect(reader.readAll()));
  const lists = await Promise.all([...everything, ...names.map((name) => collect(reader.readStream(name)))]);
  return lists.reduce((sum, list) => sum + list.length, 0);
}

process.stdout.write("open\n");
for await (const line of console) {
  const answer = line === "read" ? await readAtOnce() : { ...reader.health(), ...reader.stats().storage };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
