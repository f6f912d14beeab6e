/** A decider out of a user's module: `FILE#EXPORT`, or `FILE` where the module exports one decider only. It is imported, so it runs. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { printable } from "../errors.ts";
import type { Decider, EventStoreReader } from "../index.ts";
import type { Arguments, OptionDescription } from "./arguments.ts";
import { CommandFailure, usageFailure } from "./failure.ts";
import { chosenStore, openExisting } from "./open-store.ts";

/** A decider of whatever events: the store is opened without types, and takes its events when the command runs. */
export type AnyDecider = Decider<unknown, never>;

export const deciderOption: OptionDescription = {
  name: "decider",
  value: "FILE#NAME",
  text: "show the states of this decider, which FILE exports as NAME; FILE is imported, so its code runs",
};

/** For the notes of commands that show states. */
export const stateNote =
  "A state is what the decider of --decider folds the events to, with its definitions' upcasters. Without one it is the data of the events as it is stored, merged member by member at the top: it shows what events brought, never that something ended.";

function isDecider(value: unknown): value is AnyDecider {
  const parts = ["name", "events", "evolve", "decide", "initialState"];
  return typeof value === "object" && value !== null && parts.every((part) => part in value);
}

/** What a command that shows states reads from, and the option that its reads take, if `--decider` was given. */
export interface OpenedWithDecider {
  readonly store: EventStoreReader;
  readonly decider: { readonly decider?: AnyDecider };
}

/** Opens the store for reading, with the definitions of the decider that was asked for; throws as `loadDecider` does. */
export async function openWithDecider(given: Arguments): Promise<OpenedWithDecider> {
  const chosen = chosenStore(given);
  const file = given.text("decider");
  const hide = given.flag("hide-personal");
  if (file === undefined) return { store: await openExisting(chosen, { hide }), decider: {} };
  const decider = await loadDecider(file);
  return { store: await openExisting(chosen, { events: decider.events, hide }), decider: { decider } };
}

/** Throws `not-found` where there is no such file, `bad-input` where it cannot be imported, `usage` for what is no decider. */
async function loadDecider(text: string): Promise<AnyDecider> {
  const hash = text.lastIndexOf("#");
  const [file, name] = hash < 0 ? [text, undefined] : [text.slice(0, hash), text.slice(hash + 1)];
  const path = resolve(file);
  if (!existsSync(path)) throw new CommandFailure("not-found", `There is no module ${printable(file)}`);
  let exported: Readonly<Record<string, unknown>>;
  try {
    exported = await import(pathToFileURL(path).href);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new CommandFailure("bad-input", `The module ${printable(file)} cannot be imported: ${why}`, cause);
  }
  const names = Object.keys(exported).filter((one) => isDecider(exported[one]));
  const chosen = name ?? (names.length === 1 ? names[0] : undefined);
  const decider = chosen !== undefined && Object.hasOwn(exported, chosen) ? exported[chosen] : undefined;
  if (isDecider(decider)) return decider;
  const has = names.length === 0 ? "it exports no decider" : `its deciders are ${names.join(", ")}`;
  const wanted =
    name === undefined ? "--decider must say which export of" : `There is no decider ${printable(name)} in`;
  throw usageFailure(`${wanted} ${printable(file)}: ${has}`);
}
