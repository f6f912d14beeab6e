/**
 * Which of a projection's generations serves, which is being built, and which are to be removed. A new version, or a rebuild,
 * begins a generation under a number that no other ever had; the switch is one row. What no longer serves is removed in
 * bounded steps, in the background, also after a restart.
 */

import { StoreClosedError } from "../errors.ts";
import type { KeySpan } from "../format/key-families.ts";
import { allDocumentKeysSpan, checkpointKey, documentSpan } from "../format/processor-keys.ts";
import type { KvOperation } from "../kv/kv.ts";
import type { StoreCore } from "../log/store-internals.ts";
import type { AnyProjection } from "./define-projection.ts";
import type { Parking } from "./parking.ts";
import type { BuildingGeneration, Generation, ProcessorSettings, SettingsKeeper } from "./settings.ts";

/** How many rows of an old generation are removed in one commit. */
export const removedRowsAtOnce = 500;

export class Generations {
  readonly #core: StoreCore;
  readonly #settings: SettingsKeeper;
  readonly #projection: AnyProjection;
  #removing: Promise<void> | undefined;
  #closed = false;

  constructor(core: StoreCore, settings: SettingsKeeper, projection: AnyProjection) {
    this.#core = core;
    this.#settings = settings;
    this.#projection = projection;
    core.onClose(async () => {
      this.#closed = true;
      await this.#removing?.catch(() => {});
    });
  }

  get serving(): Generation | undefined {
    return this.#settings.get(this.#projection.name).serving;
  }

  get building(): BuildingGeneration | undefined {
    return this.#settings.get(this.#projection.name).building;
  }

  /** Whether what serves was made by the projection as it is now. */
  get isCurrent(): boolean {
    return this.serving?.version === this.#projection.version;
  }

  /** To be called once, before anything is read: begins with the first generation, or with one for a new version. */
  async prepare(): Promise<void> {
    await this.#core.useFamilies(["checkpoints", "documents", "documentKeys"]);
    const { name, version } = this.#projection;
    if (this.serving === undefined && this.building === undefined) {
      await this.#settings.update(name, (settings) => {
        const generation = (settings.lastGeneration ?? 0) + 1;
        return { serving: { version, generation }, lastGeneration: generation };
      });
    }
    if (this.building !== undefined && this.building.version !== version) await this.discard();
    if (!this.isCurrent && this.building === undefined) await this.begin();
    this.removeOld();
  }

  /** Begins a generation beside the one that serves. */
  async begin(): Promise<BuildingGeneration> {
    const { name, version } = this.#projection;
    const startedAtMs = this.#core.clock.now();
    let begun: BuildingGeneration = { version, generation: 0, startedAtMs };
    await this.#settings.update(name, (settings) => {
      const generation = (settings.lastGeneration ?? 0) + 1;
      begun = { version, generation, startedAtMs };
      return { building: begun, lastGeneration: generation };
    });
    return begun;
  }

  /** What the settings will be once the generation that is being built serves. */
  finished({ building, ...settings }: ProcessorSettings): ProcessorSettings {
    if (building === undefined) return settings;
    const old = settings.serving === undefined ? [] : [settings.serving.generation];
    return {
      ...settings,
      serving: { version: building.version, generation: building.generation },
      dropping: [...(settings.dropping ?? []), ...old],
    };
  }

  /** Switches over; what was parked is parked no longer. */
  async finish(parking: Parking): Promise<void> {
    const { rows, forget } = await parking.removal();
    await this.#settings.replace(this.#projection.name, (settings) => this.finished(settings), rows);
    forget();
    this.removeOld();
  }

  async discard(): Promise<void> {
    await this.#settings.replace(this.#projection.name, ({ building, ...settings }) =>
      building === undefined
        ? settings
        : { ...settings, dropping: [...(settings.dropping ?? []), building.generation] },
    );
    this.removeOld();
  }

  /** Removes what is left of old generations, in the background. */
  removeOld(): void {
    this.removed().catch((error: unknown) => {
      // The next opening goes on with it.
      if (!this.#closed) this.#core.warn(error);
    });
  }

  /** Resolves when nothing is left of old generations. Throws as a commit, and `store-closed` where it closes meanwhile. */
  async removed(): Promise<void> {
    if (this.#oldest() === undefined) return;
    if (this.#closed) throw new StoreClosedError();
    this.#removing ??= this.#remove();
    await this.#removing;
  }

  #oldest(): number | undefined {
    return this.#settings.get(this.#projection.name).dropping?.[0];
  }

  async #remove(): Promise<void> {
    const { name } = this.#projection;
    try {
      for (let generation = this.#oldest(); generation !== undefined; generation = this.#oldest()) {
        await this.#removeSpan(documentSpan(name, generation, ""));
        await this.#removeSpan(allDocumentKeysSpan(name, generation));
        await this.#core.submit({ rows: [{ kind: "delete", key: checkpointKey(name, generation) }] });
        await this.#settings.update(name, (settings) => ({
          dropping: (settings.dropping ?? []).filter((one) => one !== generation),
        }));
      }
    } finally {
      // At once with the last look, so that nobody waits for a removal that would not see what they have added.
      this.#removing = undefined;
    }
  }

  async #removeSpan(span: KeySpan): Promise<void> {
    const cursor = await this.#core.rows.scan(span, "lookup");
    try {
      for (;;) {
        if (this.#closed) throw new StoreClosedError();
        const rows = await cursor.next(removedRowsAtOnce);
        if (rows.length === 0) return;
        await this.#core.submit({ rows: rows.map(({ key }): KvOperation => ({ kind: "delete", key })) });
      }
    } finally {
      cursor.close();
    }
  }
}
