/**
 * A measurement in a process of its own, as a service would be: what one leaves in memory, and in compiled code, is not the next
 * one's. The job goes there as JSON, the outcome comes back as one line of standard output.
 */

import { spawnBun } from "./child-process.ts";
import { check } from "./scenario.ts";

/**
 * Has the file do the job and answer with one value, as `answerJob` does; throws where its process fails. `command`: comes before
 * the job, for a file that does several things.
 */
export async function runJob<Outcome>(file: string, job: object, ...command: readonly string[]): Promise<Outcome> {
  const child = spawnBun(file, [...command, JSON.stringify(job)]);
  const output = await new Response(child.stdout).text();
  check((await child.exited) === 0, `the process of ${file} failed, with the job ${JSON.stringify(job)}`);
  return JSON.parse(output) as Outcome;
}

/** The whole of such a process: does the job that it was started with, answers, and ends. */
export async function answerJob<Job>(work: (job: Job) => Promise<object>): Promise<never> {
  const outcome = await work(JSON.parse(process.argv[2] ?? "null") as Job);
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
  process.exit(0);
}
