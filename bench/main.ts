#!/usr/bin/env bun
/** The benches: `bun run bench --help`. Scenarios of other stores join the list below and share the run. */

import { runBench } from "./harness/bench.ts";
import { runInOwnProcess } from "./harness/run-scenario.ts";
import { scenarios } from "./scenarios/all.ts";

// Leaving by `exit` removes the temporary folder and ends the child processes.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));

process.exitCode = await runBench({
  argv: process.argv.slice(2),
  scenarios,
  runner: runInOwnProcess,
  writeOut: (text) => process.stdout.write(text),
  writeError: (text) => process.stderr.write(text),
});
