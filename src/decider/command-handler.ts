/**
 * Commands at work: validate, load the state, decide, commit at the version that was decided on; a conflict loads and decides
 * again. States come from a cache that may be stale: whatever is decided on one, refusals and empty decisions included, is
 * judged by the commit pipeline, so that staleness costs a retry and never a wrong decision.
 */

import { ConflictError, InvalidArgumentError, printable } from "../errors.ts";
import type { CommitRecord } from "../format/records.ts";
import { checkOptions, checkSignal } from "../log/arguments.ts";
import type { ComputedRows } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { EventMetadata, RecordedEvent } from "../vocabulary/event.ts";
import { checkExpectedVersion, type ExpectedVersion, satisfies } from "../vocabulary/expected-version.ts";
import { checkName } from "../vocabulary/names.ts";
import {
  attemptsMax,
  checkMetadataOption,
  eventsOf,
  isGone,
  knownDecider,
  pauseBetween,
  streamNameFor,
  withMetadata,
  withOutcomeOf,
} from "./common.ts";
import { decided } from "./deciding.ts";
import { type AnyDecider, afterLoadMsDefault, type Command } from "./define-decider.ts";
import { foldOnto, initialStateOf } from "./fold.ts";
import type { KnownDeciders } from "./known-deciders.ts";
import { Lanes } from "./lanes.ts";
import { DomainRefusal } from "./refusal.ts";
import type { Snapshots, StateToKeep } from "./snapshots.ts";
import { type FoldedState, StateCache } from "./state-cache.ts";
import { foldingOf, type LoadedState, loadState } from "./state-loader.ts";
import { validCommand } from "./valid-command.ts";

/** A load that folded fewer events than this was not slow because of them: a snapshot would not help. */
const slowLoadEventsMin = 64;

/** A command's execution without its types. */
export interface Executed {
  readonly state: unknown;
  readonly events: readonly RecordedEvent[];
  readonly streamName: string;
  readonly streamVersion: number;
  readonly position: number;
  readonly replayed: boolean;
  readonly incomplete?: true;
}

interface Job {
  readonly decider: AnyDecider;
  readonly streamName: string;
  readonly command: Command;
  readonly metadata: EventMetadata;
  readonly expectedVersion: ExpectedVersion | undefined;
  readonly idempotencyKey: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A conflict is a value inside: another attempt may do better. */
type Attempt = Executed | { readonly conflict: ConflictError };

export class CommandHandler {
  readonly #core: StoreCore;
  readonly #snapshots: Snapshots;
  readonly #known: KnownDeciders;
  readonly #cache = new StateCache();
  readonly #lanes = new Lanes();

  constructor(core: StoreCore, snapshots: Snapshots, known: KnownDeciders) {
    this.#core = core;
    this.#snapshots = snapshots;
    this.#known = known;
    core.onClose(() => this.#cache.clear());
    core.erasures.add(() => this.#cache.clear());
  }

  async execute(decider: unknown, id: unknown, command: unknown, options: unknown): Promise<Executed> {
    const job = await withOutcomeOf(undefined, async () => this.#check(decider, id, command, options));
    job.signal?.throwIfAborted();
    return await withOutcomeOf(job.idempotencyKey, async () => {
      this.#core.assertOpen();
      return await this.#lanes.run(job.streamName, job.signal, () => this.#run(job));
    });
  }

  /** The state of a stream now. */
  async load(decider: AnyDecider, streamName: string): Promise<LoadedState> {
    this.#core.assertOpen();
    const loaded = await this.#loadBehind(decider, streamName, undefined);
    const cached = this.#cache.get(decider, streamName);
    if (cached === undefined || cached.version < loaded.version) this.#keep(decider, streamName, loaded);
    return loaded;
  }

  #check(given: unknown, id: unknown, command: unknown, options: unknown): Job {
    const decider = knownDecider(this.#core, given);
    this.#known.add(decider);
    const known = ["metadata", "expectedVersion", "idempotencyKey", "signal"];
    const told = checkOptions(options, known, "options", { outcome: "not-applied" });
    const { expectedVersion, idempotencyKey } = told;
    return {
      decider,
      streamName: streamNameFor(decider, id),
      command: validCommand(decider, command),
      metadata: checkMetadataOption(told.metadata),
      expectedVersion:
        expectedVersion === undefined ? undefined : checkExpectedVersion(expectedVersion, "expectedVersion"),
      idempotencyKey: idempotencyKey === undefined ? undefined : checkName(idempotencyKey, "idempotencyKey"),
      signal: checkSignal(told.signal),
    };
  }

  async #run(job: Job): Promise<Executed> {
    const first = await this.#firstResult(job);
    if (first !== undefined) return first;
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await this.#attemptOrForget(job);
      if (!("conflict" in outcome)) return outcome;
      if (attempt >= attemptsMax) throw outcome.conflict;
      await pauseBetween(this.#core, attempt, job.signal);
    }
  }

  /** After a failure nobody knows what a cached state is worth. */
  async #attemptOrForget(job: Job): Promise<Attempt> {
    try {
      return await this.#attempt(job);
    } catch (error) {
      if (!(error instanceof DomainRefusal)) this.#cache.drop(job.decider, job.streamName);
      throw error;
    }
  }

  async #attempt(job: Job): Promise<Attempt> {
    const { decider, streamName, expectedVersion } = job;
    const since = this.#core.erasures.count;
    const cached = this.#cache.get(decider, streamName);
    const base = cached ?? (await this.#loadBehind(decider, streamName, job.signal));
    if (cached === undefined) this.#keep(decider, streamName, { ...base, since });
    if (expectedVersion !== undefined && !satisfies(expectedVersion, base.version)) {
      try {
        // Throws the conflict, unless it is the cached state that is behind.
        await this.#core.submit({ checks: [{ streamName, expectedVersion }] });
      } catch (error) {
        // An earlier attempt that timed out may have been stored meanwhile.
        const first = error instanceof ConflictError ? await this.#firstResult(job) : undefined;
        if (first === undefined) throw error;
        return first;
      }
      return await this.#refreshed(job, base.version);
    }
    let events: readonly object[];
    try {
      events = await this.#decide(job, base.state, base.version);
    } catch (error) {
      if (!(error instanceof DomainRefusal)) throw error;
      return await this.#refused(job, error, cached?.version);
    }
    try {
      return await this.#commit(job, { ...base, since }, events);
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      await this.#loadInto(job);
      return { conflict: error };
    }
  }

  /** A refusal holds if no earlier attempt was accepted, and if the cached state that it rests on is not stale. */
  async #refused(job: Job, refusal: DomainRefusal, cachedVersion: number | undefined): Promise<Attempt> {
    const first = await this.#firstResult(job);
    if (first !== undefined) return first;
    const conflict = cachedVersion === undefined ? undefined : await this.#conflictAt(job.streamName, cachedVersion);
    if (conflict === undefined) throw refusal;
    await this.#loadInto(job);
    return { conflict };
  }

  async #refreshed(job: Job, version: number): Promise<Attempt> {
    await this.#loadInto(job);
    const message = `The state of stream ${printable(job.streamName)} was behind it: ${version}`;
    return { conflict: new ConflictError(message, { streamName: job.streamName, actualVersion: version }) };
  }

  async #loadInto({ decider, streamName, signal }: Job): Promise<void> {
    this.#keep(decider, streamName, await this.#loadBehind(decider, streamName, signal));
  }

  /** Not where a subject was forgotten since it was begun: what it was may be in the state. */
  #keep(decider: AnyDecider, streamName: string, folded: FoldedState & { readonly since: number }): void {
    if (folded.since !== this.#core.erasures.count) return;
    this.#cache.put(decider, streamName, { state: folded.state, version: folded.version });
  }

  /** Goes on from the cached state, if there is one. */
  async #loadBehind(decider: AnyDecider, streamName: string, signal: AbortSignal | undefined): Promise<LoadedState> {
    const from = this.#cache.get(decider, streamName);
    const { reader, clock } = this.#core;
    const startedMs = clock.monotonic();
    const loaded = await loadState({
      reader,
      snapshots: this.#snapshots,
      decider,
      streamName,
      from,
      past: false,
      signal,
    });
    const policy = decider.snapshots;
    const isSlow = clock.monotonic() - startedMs >= (policy?.afterLoadMs ?? afterLoadMsDefault);
    if (policy !== undefined && isSlow && loaded.folded >= slowLoadEventsMin)
      this.#snapshots.writeSoon(decider, policy, streamName, loaded);
    return loaded;
  }

  /** Whether the stream is no longer at the version that was decided on. */
  async #conflictAt(streamName: string, version: number): Promise<ConflictError | undefined> {
    try {
      await this.#core.submit({ checks: [{ streamName, expectedVersion: version }] });
      return undefined;
    } catch (error) {
      if (error instanceof ConflictError) return error;
      throw error;
    }
  }

  async #decide(job: Job, state: unknown, streamVersion: number): Promise<readonly object[]> {
    const { decider, command, streamName, metadata, signal } = job;
    const decide = decider.decide[command.type];
    return await decided({
      name: `${decider.name}.decide.${command.type}`,
      timeoutMs: decider.decideTimeoutMs,
      signal,
      decide: () =>
        decide?.(command, state, { streamName, streamVersion, metadata, now: new Date(this.#core.clock.now()) }),
    });
  }

  async #commit(
    job: Job,
    base: { state: unknown; version: number; since: number; folded?: number },
    decidedEvents: readonly object[],
  ): Promise<Executed> {
    const { decider, streamName, idempotencyKey, signal } = job;
    const recorded: RecordedEvent[] = [];
    let state = base.state;
    const compute: ComputedRows["compute"] = ({ events }) => {
      // Before anything is written, with the numbers the events will have: what evolve cannot take is not stored.
      for (const stored of events) recorded.push(...this.#core.registry.read(stored));
      state = foldOnto(foldingOf(decider), state, recorded);
      return [];
    };
    const events = withMetadata(decidedEvents, job.metadata);
    const { record, replayed } = await this.#core.submit({
      ...(events.length === 0
        ? { checks: [{ streamName, expectedVersion: base.version }] }
        : { appends: [{ streamName, events, expectedVersion: base.version }] }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      ...(signal === undefined ? {} : { signal }),
      rows: { bytesMax: 0, rowsMax: 0, compute },
    });
    if (replayed) return await this.#replayed(job, record);
    const streamVersion = events.length === 0 ? base.version : (record.streams[0]?.streamVersion ?? base.version);
    const kept = { state, version: streamVersion, position: record.position, since: base.since };
    this.#keep(decider, streamName, kept);
    this.#maybeSnapshot(job, base, kept, events.length);
    return { state, events: recorded, streamName, streamVersion, position: record.position, replayed: false };
  }

  #maybeSnapshot(
    { decider, streamName }: Job,
    base: { version: number; folded?: number },
    kept: StateToKeep,
    eventCount: number,
  ): void {
    const policy = decider.snapshots;
    const every = policy?.everyEvents;
    if (policy === undefined || every === undefined || eventCount === 0) return;
    const passed = Math.floor(kept.version / every) > Math.floor(base.version / every);
    if (passed || (base.folded ?? 0) >= every) this.#snapshots.writeSoon(decider, policy, streamName, kept);
  }

  async #firstResult(job: Job): Promise<Executed | undefined> {
    if (job.idempotencyKey === undefined) return undefined;
    const record = await this.#core.findByKey(job.idempotencyKey);
    return record === undefined ? undefined : await this.#replayed(job, record);
  }

  /** The first result, as it was: the state behind it, and its events. What is gone of it makes the retry no less harmless. */
  async #replayed(job: Job, record: CommitRecord): Promise<Executed> {
    const { decider, streamName, signal } = job;
    const [stream, other] = record.streams;
    if (stream?.streamName !== streamName || other !== undefined) {
      const names = printable(record.streams.map((one) => one.streamName));
      throw new InvalidArgumentError("idempotencyKey", `was used for a commit to ${names}`, { outcome: "not-applied" });
    }
    const { streamVersion } = stream;
    const events = await eventsOf(this.#core, record);
    const told = { events, streamName, streamVersion, position: record.position, replayed: true };
    const { reader } = this.#core;
    const then = { reader, snapshots: this.#snapshots, decider, streamName, from: undefined, past: true, signal };
    try {
      const { state } = await loadState({ ...then, toVersion: streamVersion });
      return { state, ...told };
    } catch (error) {
      if (!isGone(error)) throw error;
      return { state: await this.#stateLeft(job), ...told, incomplete: true };
    }
  }

  /** The state of a stream that has lost events: as of now, and where that cannot be had either, the initial one. */
  async #stateLeft({ decider, streamName, signal }: Job): Promise<unknown> {
    try {
      return (await this.#loadBehind(decider, streamName, signal)).state;
    } catch (error) {
      if (!isGone(error)) throw error;
      return initialStateOf(foldingOf(decider));
    }
  }
}
