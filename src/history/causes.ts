/**
 * Finds what led to an event. There is no index of ids: an event lies before what it caused, mostly close to it, and an id of
 * ours (UUID v7) says when it was made, so a few short stretches of the log are looked through, and no more.
 */

import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CauseLink } from "./face.ts";
import type { Look } from "./look.ts";

/** How many positions before an event are looked through at first, and, where it is not found by its time either, at most. */
const nearMax = 256;
export const lookbackMax = 16_384;
/** How many positions behind the time in an id are looked through. */
const afterTimeMax = 4_096;
/** The causes that are remembered, so that a stream whose events have one cause looks for it once. */
const rememberedMax = 1_024;
const uuidV7Pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** When a UUID v7 was made, in milliseconds since 1970; `undefined` for any other id. */
export function timeOfId(id: string): number | undefined {
  return uuidV7Pattern.test(id) ? Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) : undefined;
}

export class Causes {
  readonly #look: Look;
  readonly #known = new Map<string, RecordedEvent | undefined>();

  constructor(look: Look) {
    this.#look = look;
  }

  /** What led to an event, the nearest first, at most `most` of them; the last one may be an id that no event was found for. */
  async of(event: RecordedEvent, most: number, signal?: AbortSignal): Promise<readonly CauseLink[]> {
    const links: CauseLink[] = [];
    for (let effect = event; links.length < most; ) {
      const id = effect.metadata.causationId;
      if (id === undefined || links.some((link) => link.id === id)) break;
      const cause = await this.#find(id, effect.position, signal);
      links.push(cause === undefined ? { id } : { id, event: cause });
      if (cause === undefined) break;
      effect = cause;
    }
    return links;
  }

  async #find(id: string, before: number, signal?: AbortSignal): Promise<RecordedEvent | undefined> {
    const known = this.#known.get(id);
    if (known !== undefined || this.#known.has(id)) return known;
    const found = await this.#search(id, before, signal);
    this.#known.set(id, found);
    if (this.#known.size > rememberedMax) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    return found;
  }

  async #search(id: string, before: number, signal?: AbortSignal): Promise<RecordedEvent | undefined> {
    const near = Math.max(1, before - nearMax);
    const nearby = await this.#within(id, near, before - 1, signal);
    if (nearby !== undefined || near === 1) return nearby;
    const timeMs = timeOfId(id);
    if (timeMs !== undefined) {
      const from = (await this.#look.positionAt(timeMs - 1)) + 1;
      const found = await this.#within(id, from, Math.min(from + afterTimeMax, near) - 1, signal);
      if (found !== undefined) return found;
    }
    return await this.#within(id, Math.max(1, before - lookbackMax), near - 1, signal);
  }

  /** The newest event of that id there. */
  async #within(id: string, from: number, to: number, signal?: AbortSignal): Promise<RecordedEvent | undefined> {
    let found: RecordedEvent | undefined;
    for await (const event of this.#look.mentioning([id], from, to, signal)) if (event.id === id) found = event;
    return found;
  }
}
