/** The process of one scenario: takes a job as its argument, writes the scenario's report to standard output as JSON. */

import { runHere, type ScenarioJob } from "./harness/run-scenario.ts";
import { scenarios } from "./scenarios/all.ts";

const job = JSON.parse(process.argv[2] ?? "null") as ScenarioJob;
const scenario = scenarios.find(({ name }) => name === job.scenario);
if (scenario === undefined) throw new Error(`There is no scenario ${job.scenario}`);
await Bun.write(Bun.stdout, JSON.stringify(await runHere(scenario, job)));
process.exit(0);
