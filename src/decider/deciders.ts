/** Everything about deciders that a store offers, without its types: `store/event-store.ts` has the face. */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { EventReader } from "../log/event-store.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { CommandHandler, type Executed } from "./command-handler.ts";
import { knownDecider, streamNameFor } from "./common.ts";
import type { AnyDecider } from "./define-decider.ts";
import { KnownDeciders } from "./known-deciders.ts";
import { type DecidedOverQuery, decideOverQuery } from "./query-decisions.ts";
import { Snapshots } from "./snapshots.ts";
import { type LoadedState, loadState } from "./state-loader.ts";

export class Deciders {
  /** Those in use: given at opening, or met since. */
  readonly known: KnownDeciders = new KnownDeciders();
  readonly snapshots: Snapshots;
  readonly #core: StoreCore;
  readonly #handler: CommandHandler;

  /** `given`: deciders that are known before they are used. Throws `invalid-argument` for what is none of the store's. */
  constructor(core: StoreCore, given: readonly unknown[] = []) {
    this.#core = core;
    this.snapshots = new Snapshots(core);
    this.#handler = new CommandHandler(core, this.snapshots, this.known);
    for (const decider of given) this.#use(decider);
  }

  async execute(decider: unknown, id: unknown, command: unknown, options: unknown): Promise<Executed> {
    return await this.#handler.execute(decider, id, command, options);
  }

  async decide(decision: unknown, options: unknown): Promise<DecidedOverQuery> {
    return await decideOverQuery(this.#core, decision, options);
  }

  #use(given: unknown): AnyDecider {
    const decider = knownDecider(this.#core, given);
    this.known.add(decider);
    return decider;
  }

  /** The state of a stream now. */
  async load(given: unknown, id: unknown): Promise<LoadedState> {
    const decider = this.#use(given);
    return await this.#handler.load(decider, streamNameFor(decider, id));
  }

  /** The state of a stream as a view has it. */
  async loadFrom(reader: EventReader, given: unknown, id: unknown): Promise<LoadedState> {
    const decider = this.#use(given);
    const streamName = streamNameFor(decider, id);
    const { snapshots } = this;
    return await loadState({ reader, snapshots, decider, streamName, from: undefined, past: true });
  }

  /** Writes the stream's snapshot; answers the version that it reaches to. */
  async snapshot(given: unknown, id: unknown): Promise<{ readonly streamName: string; readonly version: number }> {
    const decider = this.#use(given);
    const streamName = streamNameFor(decider, id);
    if (decider.snapshots === undefined)
      throw new InvalidArgumentError("decider", `${printable(decider.name)} has no snapshots`, {
        outcome: "not-applied",
      });
    const kept = await this.#handler.load(decider, streamName);
    if (kept.version > 0) await this.snapshots.write(decider, decider.snapshots, streamName, kept);
    return { streamName, version: kept.version };
  }
}
