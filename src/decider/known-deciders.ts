/** The deciders with snapshots that are in use on a store: given when it was opened, or met since. */

import type { AnyDecider, SnapshotPolicy } from "./define-decider.ts";

/** The most that are remembered; a process that makes deciders without end is not to grow for it. */
const knownDecidersMax = 1_000;

/** A decider that keeps snapshots. */
export interface KeptDecider {
  readonly decider: AnyDecider;
  readonly policy: SnapshotPolicy<unknown>;
}

export class KnownDeciders {
  /** By name and version of their snapshots: of two that share both, whichever was met last. */
  readonly #known = new Map<string, KeptDecider>();

  add(decider: AnyDecider): void {
    const policy = decider.snapshots;
    if (policy === undefined) return;
    const key = `${policy.version}:${decider.name}`;
    if (this.#known.size >= knownDecidersMax && !this.#known.has(key)) return;
    this.#known.set(key, { decider, policy });
  }

  /** Those whose streams are of a category. */
  of(category: string): readonly KeptDecider[] {
    return [...this.#known.values()].filter(({ decider }) => decider.events.category === category);
  }

  /** By name, the highest version of snapshots that is in use. */
  versions(): ReadonlyMap<string, number> {
    const versions = new Map<string, number>();
    for (const { decider, policy } of this.#known.values()) {
      versions.set(decider.name, Math.max(policy.version, versions.get(decider.name) ?? 0));
    }
    return versions;
  }
}
