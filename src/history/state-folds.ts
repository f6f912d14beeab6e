/** How the events of a stream become states: by a decider, or, without one, by merging their data. */

import { knownDecider } from "../decider/common.ts";
import type { AnyDecider } from "../decider/define-decider.ts";
import { evolveState, initialStateOf } from "../decider/fold.ts";
import { freezeDeeply } from "../decider/freeze.ts";
import type { SnapshotFinder } from "../decider/snapshot-reader.ts";
import { foldingOf, loadState } from "../decider/state-loader.ts";
import { InvalidArgumentError, printable, StreamTruncatedError } from "../errors.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { categoryOf } from "../vocabulary/names.ts";
import { isPlainObject } from "./containers.ts";
import { inOrderOfHappening, type Look } from "./look.ts";

/** One event, and the states around it, frozen. */
export interface Step {
  readonly event: RecordedEvent;
  readonly before: unknown;
  readonly after: unknown;
}

const noSnapshots: SnapshotFinder = { erasures: 0, find: async () => undefined };

export class StateFold {
  readonly #look: Look;
  readonly #decider: AnyDecider | undefined;

  /** Throws `invalid-argument` for what is no decider of the store's events, or one of another category than the stream's. */
  constructor(look: Look, decider: unknown, streamName: string) {
    this.#look = look;
    this.#decider = decider === undefined ? undefined : knownDecider(look, decider);
    const own = this.#decider?.events.category;
    if (own === undefined || own === categoryOf(streamName)) return;
    throw new InvalidArgumentError("decider", `is for streams of ${printable(own)}, not for ${printable(streamName)}`);
  }

  get initial(): unknown {
    return this.#decider === undefined ? emptyState : initialStateOf(foldingOf(this.#decider));
  }

  /** The state after one more event. */
  next(state: unknown, event: RecordedEvent): unknown {
    if (this.#decider !== undefined) return freezeDeeply(evolveState(foldingOf(this.#decider), state, event));
    return isPlainObject(event.data) ? freezeDeeply({ ...(state as object), ...event.data }) : state;
  }

  /** The newest state, and the version that it is of. Throws `stream-truncated` where all events of then are gone. */
  async newest(streamName: string): Promise<{ readonly state: unknown; readonly version: number }> {
    const { reader, order, snapshots = noSnapshots } = this.#look;
    if ((await reader.streamInfo(streamName)) === undefined && this.#decider?.truncated !== "fold") {
      const truncatedBefore = await this.#look.truncatedBehind(streamName);
      if (truncatedBefore !== undefined) throw new StreamTruncatedError(streamName, truncatedBefore);
    }
    if (this.#decider !== undefined && order === "recorded")
      return await loadState({ reader, snapshots, decider: this.#decider, streamName, from: undefined, past: true });
    const version = (await reader.streamInfo(streamName))?.version ?? 0;
    return { state: await this.at(streamName, version), version };
  }

  /** The version and the state before the first event that a stream still has: those of nothing, unless it was truncated. */
  async beginning(
    streamName: string,
    signal?: AbortSignal,
  ): Promise<{ readonly version: number; readonly state: unknown }> {
    const version = ((await this.#look.reader.streamInfo(streamName))?.truncatedBefore ?? 1) - 1;
    return { version, state: await this.at(streamName, version, signal) };
  }

  /**
   * The state at a version: all of its events up to there, or what a snapshot has of them. Throws `stream-truncated` where the
   * version itself is gone, and more behind it, unless the decider says that what is left is enough.
   */
  async at(streamName: string, version: number, signal?: AbortSignal): Promise<unknown> {
    if (version <= 0) return this.initial;
    const { reader, order, snapshots = noSnapshots } = this.#look;
    if (this.#decider !== undefined && order === "recorded") {
      const from = { reader, snapshots, decider: this.#decider, streamName, from: undefined, past: true };
      return (await loadState({ ...from, toVersion: version, signal })).state;
    }
    if (this.#decider?.truncated !== "fold") {
      const { truncatedBefore = 1 } = (await reader.streamInfo(streamName)) ?? {};
      if (version < truncatedBefore - 1) throw new StreamTruncatedError(streamName, truncatedBefore);
    }
    let state = this.initial;
    for await (const event of this.#events(streamName, 1, version, signal)) state = this.next(state, event);
    return state;
  }

  /** The events of versions `from` to `to`, in the order in which states are folded, with those states. `base`: that before. */
  async *steps(
    streamName: string,
    from: number,
    to: number,
    base: unknown,
    signal?: AbortSignal,
  ): AsyncGenerator<Step> {
    let before = base;
    for await (const event of this.#events(streamName, from, to, signal)) {
      const after = this.next(before, event);
      yield { event, before, after };
      before = after;
    }
  }

  async *#events(streamName: string, from: number, to: number, signal?: AbortSignal): AsyncGenerator<RecordedEvent> {
    const events = this.#recorded(streamName, from, to, signal);
    if (this.#look.order === "recorded") yield* events;
    else yield* await inOrderOfHappening(events);
  }

  async *#recorded(streamName: string, from: number, to: number, signal?: AbortSignal): AsyncGenerator<RecordedEvent> {
    if (from > to) return;
    const read = { fromVersion: from, ...(signal === undefined ? {} : { signal }) };
    for await (const event of this.#look.reader.readStream(streamName, read)) {
      if (event.version > to) return;
      yield event;
    }
  }
}

const emptyState: object = Object.freeze({});
