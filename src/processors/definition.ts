/**
 * How a definition (`defineProjection`, `defineSqlProjection`, `defineReactor`, `defineProcessManager`) becomes a processor
 * of an open store: it carries a function that the store calls while it opens. So neither needs to know the other.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { Processor } from "./processor.ts";
import type { SettingsKeeper } from "./settings.ts";

/** The member by which a definition makes its processor. */
export const createProcessor: unique symbol = Symbol("createProcessor");

/** What an open store gives to its processors. */
export interface ProcessorHost {
  readonly core: StoreCore;
  /** Filled before `prepare` is called. */
  readonly settings: SettingsKeeper;
  /** Executes a command as `store.execute` does. */
  execute(decider: unknown, id: unknown, command: unknown, options: unknown): Promise<unknown>;
}

/** Whatever a store can be opened with that runs as a processor. */
export interface ProcessorDefinition {
  readonly name: string;
  readonly [createProcessor]: (host: ProcessorHost) => Processor;
}

/** A list of definitions. Throws `invalid-argument`, naming the option and what should have made its items. */
export function checkDefinitionList(value: unknown, argument: string, maker: string): readonly ProcessorDefinition[] {
  if (value === undefined) return [];
  if (!Array.isArray(value))
    throw new InvalidArgumentError(argument, `must be a list of ${maker}(...), not ${printable(value)}`);
  for (const [index, definition] of value.entries()) {
    if (typeof definition !== "object" || definition === null || !(createProcessor in definition))
      throw new InvalidArgumentError(`${argument}[${index}]`, `must be made by ${maker}(...)`);
  }
  return value;
}

/** Throws `invalid-argument` where a processor is about events that the store was not opened with. */
export function checkKnownEvents(
  core: Pick<StoreCore, "registry">,
  name: string,
  events: readonly EventDefinitions[],
): void {
  const unknown = events.find((one) => !core.registry.has(one));
  if (unknown === undefined) return;
  const problem = `of ${printable(name)} are not among those that the store was opened with: ${unknown.category}`;
  throw new InvalidArgumentError("events", problem);
}
