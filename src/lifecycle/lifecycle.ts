/** Everything about the life cycle that a store offers: the compactor with its steps, among the processors. */

import type { Deciders } from "../decider/deciders.ts";
import { InvalidArgumentError } from "../errors.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { ErasedFace } from "../processors/processing.ts";
import { Archiver } from "./archiver.ts";
import type { CompactionSettings } from "./compaction-options.ts";
import { Compactor, compactorName } from "./compactor.ts";
import type { LifecycleFace } from "./face.ts";
import type { LifecycleStep } from "./lifecycle-step.ts";
import { RetentionStep } from "./retention-step.ts";
import { Retentions } from "./retentions.ts";
import { SnapshotStep } from "./snapshot-step.ts";
import { StreamLifecycle } from "./stream-lifecycle.ts";

export interface LifecycleSettings {
  readonly compaction: CompactionSettings;
  readonly deletionGraceMs: number;
}

export class Lifecycle {
  readonly #compactor: Compactor;
  readonly #settings: CompactionSettings;
  readonly #streams: StreamLifecycle;
  readonly #retentions: Retentions;
  readonly #archiver: Archiver;

  constructor(core: StoreCore, { compaction, deletionGraceMs }: LifecycleSettings, deciders: Deciders) {
    const retention = new RetentionStep(core);
    const steps: readonly LifecycleStep[] = [retention, new SnapshotStep(deciders.known, deciders.snapshots)];
    const onDue = (dueAtMs: number): void => retention.noteDue(dueAtMs);
    this.#settings = compaction;
    this.#compactor = new Compactor(core, compaction, steps);
    this.#streams = new StreamLifecycle(core, deletionGraceMs, onDue);
    this.#retentions = new Retentions(core, onDue);
    this.#archiver = new Archiver(core, onDue);
  }

  /** Begins to work in the background. To be called once everything else is in place. */
  start(): void {
    this.#compactor.start();
  }

  /** The face of the processors, with the compactor among them where it works in the background. */
  face(processors: ErasedFace): ErasedFace & LifecycleFace {
    const compactor = this.#compactor;
    const own: LifecycleFace = {
      compact: (options) => compactor.compact(options),
      truncateStream: (streamName, options) => this.#streams.truncate(streamName, options),
      deleteStream: (streamName, options) => this.#streams.delete(streamName, options),
      undeleteStream: (streamName, options) => this.#streams.undelete(streamName, options),
      archiveStream: (streamName, options) => this.#archiver.archive(streamName, options),
      setRetention: (name, retention, options) => this.#retentions.set(name, retention, options),
      retentions: () => this.#retentions.list(),
    };
    if (!this.#settings.background) return { ...processors, ...own };
    const isCompactor = (name: unknown): boolean => name === compactorName;
    return {
      ...processors,
      ...own,
      processors: () => [...processors.processors(), compactor.info()],
      pauseProcessor: async (name) =>
        isCompactor(name) ? await compactor.setPaused(true) : await processors.pauseProcessor(name),
      resumeProcessor: async (name) =>
        isCompactor(name) ? await compactor.setPaused(false) : await processors.resumeProcessor(name),
      rebuild: async (name, options) => {
        if (!isCompactor(name)) return await processors.rebuild(name, options);
        throw new InvalidArgumentError("name", "is that of the compactor, which builds nothing: call compact()");
      },
    };
  }
}
