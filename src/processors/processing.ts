/** Everything about processors that a store offers, without its types: makes them of their definitions, and runs them. */

import { evolveState, initialStateOf } from "../decider/fold.ts";
import { InvalidArgumentError, printable } from "../errors.ts";
import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { StoreCore } from "../log/store-internals.ts";
import { checkFilter } from "../vocabulary/filter.ts";
import type { ProcessManager } from "./define-process-manager.ts";
import { type AnyProjection, checkFunctions, type Projection, projectionOf } from "./define-projection.ts";
import type { Reactor } from "./define-reactor.ts";
import {
  checkDefinitionList,
  checkKnownEvents,
  createProcessor,
  type ProcessorDefinition,
  type ProcessorHost,
} from "./definition.ts";
import { asyncProjection } from "./document-projection.ts";
import { freshInStore, type ServingGeneration, StoredDocuments } from "./documents.ts";
import type { DocumentReader, Folded, ProcessorFace } from "./face.ts";
import { Generations } from "./generations.ts";
import { InlineProjection, InlineProjections, inlineProcessor } from "./inline-projections.ts";
import { LiveDocuments } from "./live-documents.ts";
import { type ParkedEvent, processorOfParkedId, type ReplayResult } from "./parking.ts";
import { ProcessorRunner } from "./runner.ts";

/** What a store can be opened with besides events. */
export interface ProcessingOptions {
  /** Made by `defineProjection` or `defineSqlProjection`. */
  readonly projections?: readonly (Projection<unknown, never> | ProcessorDefinition)[];
  /** Made by `defineReactor`. */
  readonly reactors?: readonly Reactor[];
  /** Made by `defineProcessManager`. */
  readonly processManagers?: readonly ProcessManager<unknown>[];
}

export const processingOptionNames: readonly string[] = ["projections", "reactors", "processManagers"];

export class Processing {
  readonly #core: StoreCore;
  readonly #host: ProcessorHost;
  readonly #runner: ProcessorRunner;
  readonly #documents = new Map<AnyProjection, DocumentReader<unknown, string>>();
  readonly #generations: Generations[] = [];

  /** Throws `invalid-argument` for what is no definition, names that are taken, and events that the store does not know. */
  constructor(core: StoreCore, options: ProcessingOptions, execute: ProcessorHost["execute"]) {
    this.#core = core;
    this.#runner = new ProcessorRunner(core);
    this.#host = { core, settings: this.#runner.settings, execute };
    const given = options.projections ?? [];
    if (!Array.isArray(given))
      throw new InvalidArgumentError("projections", `must be a list of defineProjection(...), not ${printable(given)}`);
    const inline: InlineProjection[] = [];
    for (const [index, definition] of given.entries()) {
      const projection = projectionOf(definition);
      if (projection === undefined) {
        checkDefinitionList([definition], `projections[${index}]`, "defineProjection");
        this.#runner.add((definition as ProcessorDefinition)[createProcessor](this.#host));
      } else this.#addProjection(projection, inline);
    }
    for (const reactor of checkDefinitionList(options.reactors, "reactors", "defineReactor"))
      this.#runner.add(reactor[createProcessor](this.#host));
    const managers = checkDefinitionList(options.processManagers, "processManagers", "defineProcessManager");
    for (const manager of managers) this.#runner.add(manager[createProcessor](this.#host));
    if (inline.length > 0) core.addDecorator(new InlineProjections(core, inline));
  }

  /** To be awaited before the store is handed out. Throws as the runner's `start`. */
  async start(): Promise<void> {
    try {
      await this.#runner.start();
    } catch (error) {
      await this.#runner.stop();
      throw error;
    }
  }

  /**
   * Takes a forgotten subject out of the documents of all projections that declare where it is; how many that changed. Old
   * generations of documents, which nobody reads but which have it still, are gone when it resolves.
   */
  async erase(subject: string): Promise<number> {
    const erased = await this.#runner.erase(subject);
    await Promise.all(this.#generations.map((generations) => generations.removed()));
    return erased;
  }

  /** Whether a processor of this name runs here. */
  has(name: string): boolean {
    return this.#runner.has(name);
  }

  face(): ErasedFace {
    const runner = this.#runner;
    return {
      processors: () => runner.processors(),
      waitFor: (name, position, options) => runner.waitFor(name, position, options),
      pauseProcessor: (name) => runner.pauseProcessor(name),
      resumeProcessor: (name) => runner.resumeProcessor(name),
      rebuild: (name, options) => runner.rebuild(name, options),
      cancelRebuild: (name) => runner.cancelRebuild(name),
      parked: (name) => this.#parked(name),
      replayParked: (nameOrId) => this.#replayParked(nameOrId),
      skipParked: (id) => this.#skipParked(id),
      documents: (projection) => this.#documentsOf(projection),
      fold: (fold) => this.#fold(fold),
    };
  }

  #addProjection(projection: AnyProjection, inline: InlineProjection[]): void {
    const { core } = this.#host;
    const { name, mode } = projection;
    checkKnownEvents(core, name, projection.events);
    const { settings } = this.#host;
    switch (mode) {
      case "live":
        this.#runner.reserve(name);
        this.#documents.set(projection, new LiveDocuments(core, projection));
        return;
      case "async": {
        const generations = new Generations(core, settings, projection);
        this.#generations.push(generations);
        this.#runner.add(asyncProjection(projection, core, generations));
        this.#documents.set(
          projection,
          this.#stored(projection, generations, () => undefined),
        );
        return;
      }
      case "inline": {
        const one = new InlineProjection(this.#host, projection);
        inline.push(one);
        this.#runner.add(inlineProcessor(one));
        const { generations } = one;
        this.#generations.push(generations);
        // An old version serves as it stands; one that is current is waited for until commits carry it.
        const ready = (): Promise<void> | undefined => (one.isActive || !generations.isCurrent ? undefined : one.ready);
        this.#documents.set(projection, this.#stored(projection, generations, ready));
      }
    }
  }

  #stored(
    projection: AnyProjection,
    generations: Generations,
    ready: () => Promise<void> | undefined,
  ): StoredDocuments {
    const core = this.#core;
    const waitFor: ProcessorRunner["waitFor"] = (...given) => this.#runner.waitFor(...given);
    const serving = (): ServingGeneration => ({
      generation: generations.serving?.generation ?? 0,
      isCurrent: generations.isCurrent,
    });
    const fresh = freshInStore({ core, name: projection.name, ready, waitFor });
    return new StoredDocuments({ projection, rows: core.rows, serving, fresh });
  }

  #documentsOf(given: unknown): DocumentReader<unknown, string> {
    const projection = projectionOf(given);
    const documents = projection === undefined ? undefined : this.#documents.get(projection);
    if (documents !== undefined) return documents;
    throw new InvalidArgumentError("projection", "must be one that the store was opened with, with documents");
  }

  async *#parked(name: unknown): AsyncGenerator<ParkedEvent> {
    yield* this.#runner.parkingOf(name).list();
  }

  async #replayParked(nameOrId: unknown): Promise<ReplayResult> {
    if (typeof nameOrId === "string" && !this.#runner.has(nameOrId)) {
      const processor = processorOfParkedId(nameOrId)?.processor;
      if (processor !== undefined && this.#runner.has(processor)) {
        const parking = this.#runner.parkingOf(processor);
        return await this.#runner.exclusively(processor, () => parking.replay(nameOrId));
      }
    }
    const parking = this.#runner.parkingOf(nameOrId);
    return await this.#runner.exclusively(String(nameOrId), () => parking.replay(undefined));
  }

  async #skipParked(id: unknown): Promise<void> {
    const processor = typeof id === "string" ? processorOfParkedId(id)?.processor : undefined;
    if (typeof id !== "string" || processor === undefined)
      throw new InvalidArgumentError("id", `is not that of a parked event: ${printable(id)}`);
    const parking = this.#runner.parkingOf(processor);
    await this.#runner.exclusively(processor, () => parking.skip(id));
  }

  async #fold(given: unknown): Promise<Folded<unknown>> {
    const fold = checkOptions(given, ["filter", "initialState", "evolve", "toPosition", "signal"], "fold");
    const evolve = checkFunctions(fold.evolve, "fold.evolve") as Readonly<Record<string, () => unknown>>;
    if (typeof fold.initialState !== "function") throw new InvalidArgumentError("fold.initialState", "is missing");
    const initialState = fold.initialState as () => unknown;
    const folding = { name: "fold", initialState, evolve, exhaustive: false };
    const filter = checkFilter(fold.filter);
    const signal = checkSignal(fold.signal);
    const last = this.#core.lastPosition();
    const position = Math.min(last, checkInteger(fold.toPosition, "fold.toPosition", 0) ?? last);
    let state = initialStateOf(folding);
    const read = { ...(filter === undefined ? {} : { filter }), ...(signal === undefined ? {} : { signal }) };
    for await (const event of this.#core.readerAt(position).readAll(read)) state = evolveState(folding, state, event);
    return { state, position };
  }
}

/** The face without the types of its projections, which only callers know. */
export type ErasedFace = Omit<ProcessorFace, "documents" | "fold"> & {
  documents(projection: unknown): DocumentReader<unknown, string>;
  fold(fold: unknown): Promise<Folded<unknown>>;
};
