/**
 * What is kept about each processor besides its checkpoint: whether it is paused, its version, which generation of its read
 * model serves and which is being built. One row each, changed one after another, read once at the start.
 */

import { InvalidArgumentError, printable } from "../errors.ts";
import { settingsKey } from "../format/processor-keys.ts";
import { decodeRecord, type PutRow, recordRow } from "../format/processor-records.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { Processor, ProcessorKind } from "./processor.ts";

/** A read model in the store: what made it, and the part of its keys that tells it from others of the same name. */
export interface Generation {
  readonly version: number;
  readonly generation: number;
}

export interface BuildingGeneration extends Generation {
  readonly startedAtMs: number;
}

export interface ProcessorSettings {
  readonly kind: ProcessorKind;
  readonly version: number;
  readonly paused: boolean;
  /** Projections with documents only, as are the following. */
  readonly serving?: Generation;
  readonly building?: BuildingGeneration;
  /** Generations whose rows are still to be removed. */
  readonly dropping?: readonly number[];
  /** The highest generation that was ever begun. */
  readonly lastGeneration?: number;
}

/** The most names whose settings a store can hold in memory: more processors than that are refused. */
export const processorsMax = 1_000;

export class SettingsKeeper {
  readonly #core: StoreCore;
  readonly #settings = new Map<string, ProcessorSettings>();
  readonly #last = new Map<string, Promise<unknown>>();

  constructor(core: StoreCore) {
    this.#core = core;
  }

  /** Reads what is kept about a processor, and notes it. Throws `invalid-argument` where it was another kind, or newer. */
  async load({ name, kind, version }: Pick<Processor, "name" | "kind" | "version">): Promise<void> {
    const key = settingsKey(name);
    const value = await this.#core.rows.get(key);
    const kept = value === undefined ? undefined : (decodeRecord("settings", { key, value }) as ProcessorSettings);
    if (kept !== undefined && kept.kind !== kind)
      throw new InvalidArgumentError("name", `${printable(name)} was the name of a ${kept.kind} before, not a ${kind}`);
    if (kept !== undefined && kept.version > version) {
      const was = `it was run as version ${kept.version} before, which ${version} would take back`;
      throw new InvalidArgumentError("version", `of ${printable(name)} goes back: ${was}`);
    }
    this.#settings.set(name, kept ?? { kind, version, paused: false });
    if (kept === undefined || kept.version < version) await this.update(name, () => ({ version }));
  }

  get(name: string): ProcessorSettings {
    const settings = this.#settings.get(name);
    if (settings === undefined)
      throw new InvalidArgumentError("name", `is not that of a processor: ${printable(name)}`);
    return settings;
  }

  /** Changes settings, durably, after earlier changes of the same. */
  async update(name: string, change: (settings: ProcessorSettings) => Partial<ProcessorSettings>): Promise<void> {
    await this.replace(name, (settings) => ({ ...settings, ...change(settings) }));
  }

  /** As `update`, with a function that answers the whole, and rows for the same commit. */
  async replace(
    name: string,
    change: (settings: ProcessorSettings) => ProcessorSettings,
    rows: readonly KvOperation[] = [],
  ): Promise<void> {
    await this.inTurn(name, async () => {
      await this.#core.useFamilies(["processorSettings"]);
      const next = change(this.get(name));
      await this.#core.submit({ rows: [this.row(name, next), ...rows] });
      this.accept(name, next);
    });
  }

  /** Runs what changes a processor's settings after all that was asked for before; it must not ask for a turn itself. */
  async inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const working = (this.#last.get(name) ?? Promise.resolve()).then(work);
    this.#last.set(
      name,
      working.catch(() => {}),
    );
    return await working;
  }

  /** The row of settings; for those who write it themselves, in their turn, and `accept` it once it is durable. */
  row(name: string, settings: ProcessorSettings): PutRow {
    return recordRow("settings", settingsKey(name), settings);
  }

  accept(name: string, settings: ProcessorSettings): void {
    this.#settings.set(name, settings);
  }
}
