/** Everything about the life cycle that a store offers: the compactor with its steps, among the processors. */

import type { Deciders } from "../decider/deciders.ts";
import { InvalidArgumentError } from "../errors.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { ErasedFace } from "../processors/processing.ts";
import type { CompactionSettings } from "./compaction-options.ts";
import { Compactor, compactorName } from "./compactor.ts";
import type { LifecycleFace } from "./face.ts";
import type { LifecycleStep } from "./lifecycle-step.ts";
import { SnapshotStep } from "./snapshot-step.ts";

export class Lifecycle {
  readonly #compactor: Compactor;
  readonly #settings: CompactionSettings;

  constructor(core: StoreCore, settings: CompactionSettings, deciders: Deciders) {
    const steps: readonly LifecycleStep[] = [new SnapshotStep(deciders.known, deciders.snapshots)];
    this.#settings = settings;
    this.#compactor = new Compactor(core, settings, steps);
  }

  /** Begins to work in the background. To be called once everything else is in place. */
  start(): void {
    this.#compactor.start();
  }

  /** The face of the processors, with the compactor among them where it works in the background. */
  face(processors: ErasedFace): ErasedFace & LifecycleFace {
    const compactor = this.#compactor;
    const compact: LifecycleFace["compact"] = (options) => compactor.compact(options);
    if (!this.#settings.background) return { ...processors, compact };
    const isCompactor = (name: unknown): boolean => name === compactorName;
    return {
      ...processors,
      compact,
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
