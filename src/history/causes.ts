/**
 * Finds what led to an event. There is no index of ids: an event lies before what it caused, mostly close to it, and an id of
 * ours (UUID v7) says when it was made, so a few short stretches of the log are looked through, and no more. Many events
 * name causes that are no events, as requests are: those must not cost much.
 */

import { UnreadableEventError } from "../errors.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CauseLink } from "./face.ts";
import { IdWindow } from "./id-window.ts";
import type { Look } from "./look.ts";

/** How many positions before an event are looked through at first; and for ids that do not say a time, at most. */
const nearMax = 256;
const lookbackMax = 16_384;
/** How many positions behind the time in an id are looked through. */
const afterTimeMax = 4_096;
/** The most positions that one history reads to find causes, beyond those right before its events; a time looked up counts so many. */
const readPositionsMax = 1_000_000;
const lookUpPositions = 512;
/** The causes that are remembered, so that a stream whose events have one cause looks for it once. */
const rememberedMax = 1_024;
const uuidV7Pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** When a UUID v7 was made, in milliseconds since 1970; `undefined` for any other id. */
export function timeOfId(id: string): number | undefined {
  return uuidV7Pattern.test(id) ? Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16) : undefined;
}

export class Causes {
  readonly #look: Look;
  /** Right before the events of the history; and where the times in ids point to. */
  readonly #near: IdWindow;
  readonly #byTime: IdWindow;
  #timesAsked = 0;
  readonly #known = new Map<string, RecordedEvent | undefined>();

  constructor(look: Look) {
    this.#look = look;
    this.#near = new IdWindow(look);
    this.#byTime = new IdWindow(look);
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
    if (known === undefined ? this.#known.has(id) : known.position < before) return known;
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
    const nearby = await this.#near.find(id, near, before - 1, signal);
    if (nearby !== undefined) return await this.#eventAt(nearby);
    if (this.#near.read + this.#byTime.read + this.#timesAsked * lookUpPositions >= readPositionsMax) return undefined;
    const timeMs = timeOfId(id);
    if (timeMs === undefined) {
      const further = await this.#near.find(id, Math.max(1, before - lookbackMax), before - 1, signal);
      return further === undefined ? undefined : await this.#eventAt(further);
    }
    // An event is recorded after its id was made.
    if (this.#near.holdsSince(timeMs)) return undefined;
    const from = this.#byTime.firstSince(timeMs) ?? (await this.#firstSince(timeMs));
    const then = await this.#byTime.find(id, from, Math.min(from + afterTimeMax, before) - 1, signal);
    return then === undefined ? undefined : await this.#eventAt(then);
  }

  async #firstSince(timeMs: number): Promise<number> {
    this.#timesAsked += 1;
    return (await this.#look.positionAt(timeMs - 1)) + 1;
  }

  async #eventAt(position: number): Promise<RecordedEvent | undefined> {
    try {
      // In a view of what had happened, it may be another one that comes next.
      for await (const event of this.#look.reader.readAll({ fromPosition: position, limit: 1 }))
        return event.position === position ? event : undefined;
    } catch (error) {
      // That a cause cannot be read is no reason not to tell of its effect.
      if (!(error instanceof UnreadableEventError)) throw error;
    }
    return undefined;
  }
}
