/**
 * Deciders: how commands become events. A decider is plain functions over an immutable state; it does no reading, writing or
 * waiting of its own. Pure declarations, checked when they are made; `command-handler.ts` runs them.
 */

import type { StandardSchemaV1 } from "@standard-schema/spec";
import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions } from "../log/arguments.ts";
import { millisecondsMax } from "../runtime/deadline.ts";
import type { EventDefinitions, EventTypeOf, NewEventOf, RecordedEventOf } from "../schema/define-events.ts";
import type { EventMetadata } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";

/** How long a promise of `decide` may take, unless the decider says otherwise. */
export const decideTimeoutMsDefault = 10_000;

/** A load that takes so long is slow, unless the policy says otherwise. */
export const afterLoadMsDefault = 100;

/** The commands of a decider: a schema each, of Valibot or any other Standard Schema library. */
export type CommandSchemas = Readonly<Record<string, StandardSchemaV1>>;

/**
 * Any value at all, said so that the compiler keeps literals in it: `"placed"` stays `"placed"`, and is not widened to
 * `string`, in what functions return before their decider's types are worked out.
 */
export type Literal =
  | ""
  | (string & {})
  | 0
  | (number & {})
  | boolean
  | bigint
  | symbol
  | null
  | undefined
  | object
  | { readonly [key: string]: Literal }
  | readonly Literal[];

/** Events to append, as functions may write them down. */
export type DecidedEvents<Definitions extends EventDefinitions> = readonly (NewEventOf<Definitions> & {
  readonly type: keyof Definitions["types"];
  readonly data: Literal;
})[];

/** What somebody wants to happen: a type and data. */
export interface Command<Type extends string = string, Data = unknown> {
  readonly type: Type;
  readonly data: Data;
}

/** The commands of `Commands` as callers give them. */
export type CommandOf<Commands extends CommandSchemas> = {
  [Type in keyof Commands & string]: Command<Type, StandardSchemaV1.InferInput<Commands[Type]>>;
}[keyof Commands & string];

/** What `decide` is told besides command and state. */
export interface DecideContext {
  readonly streamName: string;
  /** How many events the stream has. */
  readonly streamVersion: number;
  /** The time by the store's clock. */
  readonly now: Date;
  /** What the caller gave with the command. */
  readonly metadata: EventMetadata;
}

/** One function for each type of event: what it makes of the state. It must return a state, and leave the old one as it is. */
export type Evolve<State, Definitions extends EventDefinitions> = {
  readonly [Type in EventTypeOf<Definitions>]: (
    state: State,
    event: Extract<RecordedEventOf<Definitions>, { readonly type: Type }>,
  ) => State & Literal;
};

/** One function for each type of command: the events that it leads to, none where there is nothing to do; or it `refuse`s. */
export type Decide<State, Definitions extends EventDefinitions, Commands extends CommandSchemas> = {
  readonly [Type in keyof Commands & string]: (
    command: Command<Type, StandardSchemaV1.InferOutput<Commands[Type]>>,
    state: State,
    context: DecideContext,
  ) => DecidedEvents<Definitions> | Promise<DecidedEvents<Definitions>>;
};

/** When states are kept, so that long streams need not be read from their beginning. */
export interface SnapshotPolicy<State> {
  /** An integer from 1; another one makes all earlier snapshots be forgotten. Change it with `evolve` or the state's shape. */
  readonly version: number;
  /**
   * A snapshot is written when a stream passes a multiple of so many events: behind an `execute`, else by the compactor, of
   * deciders that it knows. Default: only by `store.snapshot`, and after slow loads.
   */
  readonly everyEvents?: number;
  /** One is written behind a load that took so many milliseconds and folded 64 events or more. Default: 100. */
  readonly afterLoadMs?: number;
  /** Checks what is read back; a snapshot that does not satisfy it is ignored. It must not be asynchronous. */
  readonly schema?: StandardSchemaV1<unknown, State>;
}

/** What `defineDecider` is told. */
export interface DeciderOptions<State, Definitions extends EventDefinitions, Commands extends CommandSchemas> {
  /** The events of the decider's category: its streams are named `<category>-<id>`. */
  readonly events: Definitions;
  readonly commands: Commands;
  /** The state of a stream without events. */
  readonly initialState: () => State;
  readonly evolve: Evolve<NoInfer<State>, Definitions>;
  readonly decide: Decide<NoInfer<State>, Definitions, Commands>;
  readonly snapshots?: SnapshotPolicy<NoInfer<State>>;
  /**
   * What to make of a stream whose first events are gone while no snapshot covers them. `"refuse"`: it has no state, and
   * whoever asks is told `stream-truncated`. `"fold"`: the events that are left say all, as where a stream begins anew with a
   * summary; folding begins with `initialState`. Default: `"refuse"`.
   */
  readonly truncated?: "refuse" | "fold";
  /** How long a promise of `decide` may take. Default: 10,000 ms. One that never returns at all cannot be helped. */
  readonly decideTimeoutMs?: number;
}

/** A decider, made by `defineDecider`. */
export interface Decider<
  State,
  Definitions extends EventDefinitions = EventDefinitions,
  Commands extends CommandSchemas = CommandSchemas,
> {
  readonly name: string;
  readonly events: Definitions;
  readonly commands: Commands;
  readonly initialState: () => State;
  readonly evolve: Evolve<State, Definitions>;
  readonly decide: Decide<State, Definitions, Commands>;
  readonly snapshots: SnapshotPolicy<State> | undefined;
  readonly truncated: "refuse" | "fold";
  readonly decideTimeoutMs: number;
}

const optionNames = [
  "events",
  "commands",
  "initialState",
  "evolve",
  "decide",
  "snapshots",
  "truncated",
  "decideTimeoutMs",
];
const made = new WeakSet<object>();
/** What is defined under a name, the newest last: commands that were kept say only the name of who decides them. */
const byName = new Map<string, readonly WeakRef<object>[]>();

/**
 * Defines a decider. Its name is usually that of its category; snapshots are kept under it. Throws `invalid-argument` for a
 * missing or superfluous function, and for options that are none.
 */
export function defineDecider<State, Definitions extends EventDefinitions, Commands extends CommandSchemas>(
  name: string,
  options: DeciderOptions<State, Definitions, Commands>,
): Decider<State, Definitions, Commands> {
  checkName(name, "name");
  checkOptions(options, optionNames);
  if (typeof options?.events?.category !== "string")
    throw new InvalidArgumentError("events", "must be made by defineEvents(...)");
  checkFunctions(options.evolve, Object.keys(options.events.types), "evolve");
  checkCommands(options.commands);
  checkFunctions(options.decide, Object.keys(options.commands), "decide");
  if (typeof options.initialState !== "function")
    throw new InvalidArgumentError("initialState", `must be a function, not ${printable(options.initialState)}`);
  checkSnapshots(options.snapshots);
  const { truncated = "refuse" } = options;
  if (truncated !== "refuse" && truncated !== "fold")
    throw new InvalidArgumentError("truncated", `must be "refuse" or "fold", not ${printable(truncated)}`);
  const decideTimeoutMs = checkInteger(options.decideTimeoutMs, "decideTimeoutMs", 1) ?? decideTimeoutMsDefault;
  if (decideTimeoutMs > millisecondsMax)
    throw new InvalidArgumentError("decideTimeoutMs", `must be at most ${millisecondsMax}, not ${decideTimeoutMs}`);
  const { events, commands, initialState, evolve, decide, snapshots } = options;
  const decider = { name, events, commands, initialState, evolve, decide, snapshots, truncated, decideTimeoutMs };
  made.add(decider);
  const others = (byName.get(name) ?? []).filter((known) => known.deref() !== undefined);
  byName.set(name, [...others, new WeakRef(decider)]);
  return decider;
}

/** The deciders of a name that this process has defined, the newest first. */
export function decidersNamed(name: string): readonly AnyDecider[] {
  const known = (byName.get(name) ?? []).map((one) => one.deref()).filter((one) => one !== undefined);
  return known.map((one) => checkDecider(one)).reverse();
}

/** The decider without its types, as what runs it sees it. Throws `invalid-argument` for what `defineDecider` did not make. */
export function checkDecider(decider: unknown): AnyDecider {
  if (typeof decider === "object" && decider !== null && made.has(decider)) return decider as AnyDecider;
  throw new InvalidArgumentError("decider", "must be made by defineDecider(...)", { outcome: "not-applied" });
}

/** A decider of whatever state, events and commands. */
export interface AnyDecider extends Omit<Decider<unknown>, "evolve" | "decide"> {
  readonly evolve: Readonly<Record<string, (state: unknown, event: unknown) => unknown>>;
  readonly decide: Readonly<Record<string, (command: Command, state: unknown, context: DecideContext) => unknown>>;
}

/** A map with exactly one function for each of `names`. */
function checkFunctions(map: unknown, names: readonly string[], argument: string): void {
  if (typeof map !== "object" || map === null)
    throw new InvalidArgumentError(argument, `must be an object of functions, not ${printable(map)}`);
  for (const name of names) {
    const found: unknown = Object.hasOwn(map, name) ? Reflect.get(map, name) : undefined;
    if (typeof found !== "function")
      throw new InvalidArgumentError(`${argument}.${name}`, `must be a function, not ${printable(found)}`);
  }
  const other = Object.keys(map).find((name) => !names.includes(name));
  if (other !== undefined) throw new InvalidArgumentError(`${argument}.${other}`, "is for a type that is not defined");
}

function checkCommands(commands: unknown): void {
  if (typeof commands !== "object" || commands === null)
    throw new InvalidArgumentError("commands", `must be schemas by command type, not ${printable(commands)}`);
  for (const [type, schema] of Object.entries(commands)) {
    checkName(type, `commands.${type}`);
    if (typeof schema?.["~standard"]?.validate !== "function")
      throw new InvalidArgumentError(
        `commands.${type}`,
        "must be a schema of Valibot or another Standard Schema library",
      );
  }
}

function checkSnapshots(policy: unknown): void {
  if (policy === undefined) return;
  const given = checkOptions(policy, ["version", "everyEvents", "afterLoadMs", "schema"], "snapshots");
  if (checkInteger(given.version, "snapshots.version", 1) === undefined)
    throw new InvalidArgumentError("snapshots.version", "is missing");
  checkInteger(given.everyEvents, "snapshots.everyEvents", 1);
  checkInteger(given.afterLoadMs, "snapshots.afterLoadMs", 0);
  const schema = given.schema as StandardSchemaV1 | undefined;
  if (schema !== undefined && typeof schema?.["~standard"]?.validate !== "function")
    throw new InvalidArgumentError(
      "snapshots.schema",
      "must be a schema of Valibot or another Standard Schema library",
    );
}
