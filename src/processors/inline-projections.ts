/**
 * Projections in the commit of the events: documents are read before a group is judged, changed as its commits are accepted
 * one after another, and written in the group's own batch. A handler that throws rejects its commit, and no other. While a
 * group is decorated nothing else is written, which is also how a generation that was built behind takes over: the last of
 * what it lacks is applied in the group that makes it serve.
 */

import { InternalError, OverloadedError, printable, StoreClosedError } from "../errors.ts";
import { readSummary, type StoredEvent } from "../format/envelope.ts";
import { settingsKey } from "../format/processor-keys.ts";
import { recordRow } from "../format/processor-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { PreparedCommit } from "../log/commit.ts";
import { type AssignedCommit, asRejection, type GroupDecoration, type GroupDecorator } from "../log/commit-extras.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { AnyProjection } from "./define-projection.ts";
import type { ProcessorHost } from "./definition.ts";
import type { DocumentOverlay } from "./document-overlay.ts";
import { DocumentTarget } from "./document-projection.ts";
import type { DocumentStore } from "./document-store.ts";
import { erasedAtOnce, eraseIn, personalKeysOf } from "./erased-documents.ts";
import { Generations } from "./generations.ts";
import type { Processor, Rebuilding } from "./processor.ts";
import type { ProcessorSettings, SettingsKeeper } from "./settings.ts";
import { HandlingFailure } from "./worker.ts";

/** How many events that match a generation may lack when it takes over, or when the store is opened. */
export const gapEventsMax = 1_024;
/** The most bytes of documents that one group may change for one projection. */
export const inlineBytesMax: number = 8 * 1024 * 1024;
/** How often the documents that a group needs are looked for: each time may show others. */
const scoutingRoundsMax = 64;
/** The most documents that are remembered as asked for too late. */
const hintsMax = 1_000;

/** A generation that is to take over with the next group. */
interface Activation {
  readonly documents: DocumentStore;
  readonly from: number;
  /** The settings that make it serve. */
  readonly settings: ProcessorSettings;
  /** Why it could not. */
  failure: unknown;
}

export class InlineProjection {
  readonly #core: StoreCore;
  readonly #settings: SettingsKeeper;
  readonly projection: AnyProjection;
  readonly generations: Generations;
  #active: DocumentStore | undefined;
  #activation: Activation | undefined;
  #activated = false;
  #ready: PromiseWithResolvers<void> = Promise.withResolvers();
  /** A forgotten subject whose documents the next group changes, and how many these were. */
  #erasing: { readonly subject: string; readonly keys: readonly string[]; erased: number | undefined } | undefined;
  /** Documents that a commit asked for when it was too late to read them. */
  readonly #hints = new Set<string>();

  constructor(host: ProcessorHost, projection: AnyProjection) {
    this.#core = host.core;
    this.#settings = host.settings;
    this.projection = projection;
    this.generations = new Generations(host.core, host.settings, projection);
    // Nobody may be waiting for it.
    this.#ready.promise.catch(() => {});
    host.core.onClose(() => this.#ready.reject(new StoreClosedError()));
  }

  /** Resolves when commits carry its documents. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  get isActive(): boolean {
    return this.#active !== undefined;
  }

  /** Everything up to here is in its documents, or does not concern it. */
  position(): number {
    return this.isActive ? this.#core.lastPosition() : 0;
  }

  async prepare(): Promise<void> {
    await this.generations.prepare();
    const { serving } = this.generations;
    if (!this.generations.isCurrent || serving === undefined) return;
    const target = new DocumentTarget(this.#core, this.projection, serving.generation);
    const from = await target.loadCheckpoint();
    // Others may have appended without it. If that is little it is made good now, else behind the store's back.
    try {
      if (await this.#lacksLittle(from)) await this.#takeOver(target.documents, from, (settings) => settings);
    } catch (error) {
      // A projection with a bug does not keep the store shut: it is caught up with behind it, and fails there.
      this.#core.assertOpen();
      this.#core.warn(error);
    }
  }

  /** What has to be built, or caught up with, before commits can carry its documents. */
  async pending(): Promise<Rebuilding | undefined> {
    const { serving, building } = this.generations;
    if (building !== undefined) return this.#rebuilding(building.generation, building.startedAtMs);
    if (this.isActive || serving === undefined) return undefined;
    return this.#rebuilding(serving.generation, this.#core.clock.now(), true);
  }

  async begin(): Promise<Rebuilding> {
    const { generation, startedAtMs } = await this.generations.begin();
    return this.#rebuilding(generation, startedAtMs);
  }

  /** `catchesUp`: it is what serves already, and only lacks what was appended without it. */
  #rebuilding(generation: number, startedAtMs: number, catchesUp = false): Rebuilding {
    const target = new DocumentTarget(this.#core, this.projection, generation);
    return {
      version: this.projection.version,
      startedAtMs,
      target,
      finish: async (position) => {
        const next = (settings: ProcessorSettings): ProcessorSettings =>
          catchesUp ? settings : this.generations.finished(settings);
        await this.#takeOver(target.documents, position, next);
        this.generations.removeOld();
      },
      discard: async () => {
        if (!catchesUp) await this.generations.discard();
      },
    };
  }

  /** In a group of its own, so that no commit beside it goes on from what the documents were. */
  async erase(subject: string): Promise<number> {
    const all = personalKeysOf(this.projection, subject);
    const { serving } = this.generations;
    if (!this.isActive)
      return serving === undefined
        ? 0
        : await new DocumentTarget(this.#core, this.projection, serving.generation).erase(subject);
    let erased = 0;
    for (let at = 0; at < all.length; at += erasedAtOnce) {
      const erasing = { subject, keys: all.slice(at, at + erasedAtOnce), erased: undefined as number | undefined };
      this.#erasing = erasing;
      try {
        await this.#core.submit({});
      } finally {
        this.#erasing = undefined;
      }
      if (erasing.erased === undefined)
        throw new OverloadedError(`Projection ${printable(this.projection.name)} was replaced meanwhile`);
      erased += erasing.erased;
    }
    return erased;
  }

  async #lacksLittle(from: number): Promise<boolean> {
    return (await this.#gap(from)) !== undefined;
  }

  /** The events that match behind `from`, unless they are too many. */
  async #gap(from: number): Promise<readonly RecordedEvent[] | undefined> {
    const filter = this.projection.filter ?? {};
    const events: RecordedEvent[] = [];
    const read = this.#core.reader.readAll({ fromPosition: from + 1, filter, limit: gapEventsMax + 1 });
    for await (const event of read) events.push(event);
    return events.length > gapEventsMax ? undefined : events;
  }

  /** Has the next group make a generation serve that holds everything up to `from`. */
  async #takeOver(
    documents: DocumentStore,
    from: number,
    next: (settings: ProcessorSettings) => ProcessorSettings,
  ): Promise<void> {
    const { name } = this.projection;
    await this.#settings.inTurn(name, async () => {
      const settings = next(this.#settings.get(name));
      const activation: Activation = { documents, from, settings, failure: undefined };
      this.#activation = activation;
      this.#activated = false;
      try {
        // A group there must be, even where nobody appends: the decoration is all that it writes.
        await this.#core.submit({});
      } finally {
        this.#activation = undefined;
      }
      if (!this.#activated)
        throw activation.failure ?? new OverloadedError(`Projection ${printable(name)} is too far behind to take over`);
      this.#settings.accept(name, settings);
    });
  }

  async decorate(events: TentativeEvents): Promise<ProjectionDecoration | undefined> {
    const takingOver = await this.#decorateToTakeOver(events);
    if (takingOver !== undefined) return takingOver;
    if (this.#active === undefined) return undefined;
    const concerned = events.of(this.projection);
    const erasing = this.#erasing;
    if (concerned.length === 0 && erasing === undefined) return undefined;
    const decoration = new ProjectionDecoration(this, this.#active, this.#core, () => {});
    if (erasing !== undefined) erasing.erased = await decoration.erase(erasing.subject, erasing.keys);
    await decoration.scout(concerned, this.#hints);
    this.#hints.clear();
    return decoration;
  }

  /** What fails here is told to who wanted it, and does no harm to the group. */
  async #decorateToTakeOver(events: TentativeEvents): Promise<ProjectionDecoration | undefined> {
    const activation = this.#activation;
    if (activation === undefined) return undefined;
    const { documents, from, settings } = activation;
    try {
      const gap = await this.#gap(from);
      if (gap === undefined) return undefined;
      const decoration = new ProjectionDecoration(this, documents, this.#core, () => {
        this.#active = documents;
        this.#activated = true;
        this.#ready.resolve();
      });
      await decoration.takeOver(gap, settingsKey(this.projection.name), settings);
      await decoration.scout(events.of(this.projection));
      return decoration;
    } catch (error) {
      activation.failure = error;
      return undefined;
    }
  }

  hint(keys: ReadonlySet<string>): void {
    for (const key of keys) if (this.#hints.size < hintsMax) this.#hints.add(key);
  }
}

/** The events of a group before they have their numbers, decoded when first asked for. */
class TentativeEvents {
  readonly #core: StoreCore;
  readonly #commits: readonly PreparedCommit[];
  readonly #read = new Map<object, readonly RecordedEvent[]>();

  constructor(core: StoreCore, commits: readonly PreparedCommit[]) {
    this.#core = core;
    this.#commits = commits;
  }

  of(projection: AnyProjection): readonly RecordedEvent[] {
    const { registry } = this.#core;
    const filter = registry.storedFilter(projection.filter);
    const position = this.#core.lastPosition() + 1;
    const found: RecordedEvent[] = [];
    for (const { appends } of this.#commits) {
      for (const { streamName, events } of appends) {
        const category = categoryOf(streamName);
        for (const event of events) {
          if (!matches(filter, { type: event.type, tags: event.tags, category })) continue;
          const known = this.#read.get(event);
          const read = known ?? registry.read({ streamName, version: 1, position, bytes: event.bytes });
          if (known === undefined) this.#read.set(event, read);
          for (const one of read) if (registry.passes(projection.filter, one)) found.push(one);
        }
      }
    }
    return found;
  }
}

/** What one group does to the documents of one projection. */
class ProjectionDecoration {
  readonly #inline: InlineProjection;
  readonly #documents: DocumentStore;
  readonly #core: StoreCore;
  readonly #onDurable: () => void;
  readonly #overlay: DocumentOverlay;
  #bytes = 0;
  #position: number | undefined;
  #settingsRow: KvOperation | undefined;

  constructor(inline: InlineProjection, documents: DocumentStore, core: StoreCore, onDurable: () => void) {
    this.#inline = inline;
    this.#documents = documents;
    this.#core = core;
    this.#onDurable = onDurable;
    this.#overlay = documents.overlay();
  }

  /** Applies what the generation lacks, all of it durable. */
  async takeOver(gap: readonly RecordedEvent[], key: Uint8Array, settings: ProcessorSettings): Promise<void> {
    const { name } = this.#inline.projection;
    await this.#documents.apply(this.#overlay, gap, (event, error) => {
      throw new HandlingFailure(name, event, error);
    });
    this.#position = this.#core.lastPosition();
    this.#settingsRow = recordRow("settings", key, settings);
  }

  /** Takes a subject out of documents before any commit of the group sees them; how many there were. */
  async erase(subject: string, keys: readonly string[]): Promise<number> {
    const { projection } = this.#inline;
    const about = { projection, subject, position: this.#core.lastPosition() };
    return await eraseIn(this.#overlay, this.#documents, keys, about);
  }

  /** Reads the documents that the events will need, and leaves no trace. */
  async scout(events: readonly RecordedEvent[], hints: ReadonlySet<string> = new Set()): Promise<void> {
    if (hints.size > 0) await this.#documents.load(hints);
    const mark = this.#overlay.mark();
    for (let round = 0; round < scoutingRoundsMax; round += 1) {
      const missing = new Set<string>();
      for (const event of events) {
        try {
          for (const key of this.#overlay.apply(event)) missing.add(key);
        } catch {
          // It will say so again when its turn comes, with its numbers.
        }
      }
      this.#overlay.undo(mark);
      if (missing.size === 0) return;
      await this.#documents.load(missing);
    }
  }

  /** Applies a commit; where it throws, nothing of the commit is left. */
  accept(commit: AssignedCommit, read: (stored: StoredEvent) => readonly RecordedEvent[]): () => void {
    const { registry } = this.#core;
    const { projection } = this.#inline;
    const filter = registry.storedFilter(projection.filter);
    const mark = this.#overlay.mark();
    const before = { bytes: this.#bytes, position: this.#position };
    const undo = (): void => {
      this.#overlay.undo(mark);
      this.#bytes = before.bytes;
      this.#position = before.position;
    };
    try {
      for (const stored of commit.events) {
        const { type, tags } = readSummary(stored.bytes);
        if (!matches(filter, { type, tags, category: categoryOf(stored.streamName) })) continue;
        for (const event of read(stored)) if (registry.passes(projection.filter, event)) this.#apply(event);
        this.#position = commit.position;
      }
      this.#bytes += this.#overlay.encodeSince(mark);
      if (this.#bytes > inlineBytesMax)
        throw new OverloadedError(`Projection ${printable(projection.name)} changes too much in one group`);
    } catch (error) {
      undo();
      throw asRejection(error);
    }
    return undo;
  }

  rows(): readonly KvOperation[] {
    const rows = this.#overlay.rows(this.#documents.generation);
    if (this.#settingsRow !== undefined) rows.push(this.#settingsRow);
    if (this.#position !== undefined) rows.push(this.#documents.checkpointRow(this.#position));
    return rows;
  }

  durable(): void {
    this.#documents.confirm(this.#overlay, this.#bytes);
    this.#onDurable();
  }

  #apply(event: RecordedEvent): void {
    const missing = this.#overlay.apply(event);
    if (missing.size === 0) return;
    this.#inline.hint(missing);
    const { name } = this.#inline.projection;
    const which = printable([...missing][0]);
    throw new OverloadedError(`Projection ${printable(name)} turned out to need another document, try again: ${which}`);
  }
}

/** Carries the documents of all inline projections of a store in its groups. */
export class InlineProjections implements GroupDecorator {
  readonly #core: StoreCore;
  readonly #projections: readonly InlineProjection[];

  constructor(core: StoreCore, projections: readonly InlineProjection[]) {
    this.#core = core;
    this.#projections = projections;
  }

  async begin(commits: readonly PreparedCommit[]): Promise<GroupDecoration> {
    const events = new TentativeEvents(this.#core, commits);
    const parts: ProjectionDecoration[] = [];
    for (const one of this.#projections) {
      const part = await one.decorate(events);
      if (part !== undefined) parts.push(part);
    }
    const { registry } = this.#core;
    return {
      accept: (commit) => {
        if (parts.length === 0 || commit.events.length === 0) return undefined;
        const decoded = new Map<StoredEvent, readonly RecordedEvent[]>();
        const read = (stored: StoredEvent): readonly RecordedEvent[] => {
          const found = decoded.get(stored) ?? registry.read(stored);
          decoded.set(stored, found);
          return found;
        };
        const undone: (() => void)[] = [];
        try {
          for (const part of parts) undone.push(part.accept(commit, read));
        } catch (error) {
          for (const undo of undone.reverse()) undo();
          throw error;
        }
        return () => {
          for (const undo of undone.reverse()) undo();
        };
      },
      rows: () => parts.flatMap((part) => part.rows()),
      durable: () => {
        for (const part of parts) part.durable();
      },
    };
  }
}

/** The processor of a projection whose mode is `"inline"`: nothing but its rebuilds. */
export function inlineProcessor(inline: InlineProjection): Processor {
  const { name, version, filter, retries } = inline.projection;
  const nothing = async (): Promise<never> => {
    throw new InternalError("An inline projection was given a batch");
  };
  return {
    name,
    kind: "projection",
    version,
    filter,
    retries,
    prepare: () => inline.prepare(),
    passive: { position: () => inline.position() },
    continues: () => inline.isActive,
    erase: (subject) => inline.erase(subject),
    loadCheckpoint: nothing,
    handle: nothing,
    rebuilds: { pending: () => inline.pending(), begin: () => inline.begin() },
  };
}
