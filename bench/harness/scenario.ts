/**
 * What a scenario is, what it is given, and what it answers with. A scenario asks one question, has three sizes, and checks
 * its own result: it throws where the result is wrong, and then the whole bench fails.
 */

import type { EventSource } from "./event-source.ts";
import type { MemorySampler } from "./memory-sampler.ts";
import type { LatencySummary } from "./statistics.ts";

/** `smoke` runs in the tests, all scenarios in seconds; `quick` is for every day; `full` is for claims. */
export type Size = "smoke" | "quick" | "full";

export const sizes: readonly Size[] = ["smoke", "quick", "full"];

/** One line of the report. */
export interface Row {
  readonly parameters: Readonly<Record<string, string | number>>;
  /** How many operations, or events, were measured; 0 where the scenario does not apply. */
  readonly n: number;
  readonly perSecond?: number;
  readonly latencyMs?: LatencySummary;
  /** The most resident memory of the process during the measurement. */
  readonly rssMaxMb?: number;
  /** Further columns. */
  readonly extra?: Readonly<Record<string, string | number>>;
}

export interface ScenarioContext<Settings extends object = object> {
  readonly settings: Settings;
  /** Where a store may be made that nobody has used before; `part` tells a scenario's stores apart. */
  freshUrl(part: string): string;
  readonly source: EventSource;
  readonly memory: MemorySampler;
  /** Says on standard error what goes on. */
  progress(message: string): void;
}

export interface Scenario<Settings extends object = object> {
  readonly name: string;
  /** One sentence. */
  readonly question: string;
  readonly sizes: Readonly<Record<Size, Settings>>;
  run(context: ScenarioContext<Settings>): Promise<readonly Row[]>;
}

/** Fails the scenario where what was measured is not what should have happened. */
export function check(holds: boolean, problem: string): void {
  if (!holds) throw new Error(`The scenario's own check failed: ${problem}`);
}

export function checkEqual(actual: number, expected: number, what: string): void {
  check(actual === expected, `${what}: ${actual} instead of ${expected}`);
}
