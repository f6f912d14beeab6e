/** From stored events, as they are read in lists, to what callers get: picked by what their bytes say, then decoded. */

import { readHeader, type StoredEvent, uuidPattern } from "../format/envelope.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { CheckedFilter } from "../vocabulary/filter.ts";

/** Stored events in lists, each in memory as a whole. */
export type StoredLists = AsyncGenerator<readonly StoredEvent[], void>;

/** What of the events that were read is handed out. */
export interface Wanted {
  /** What they have to pass once they are decoded. */
  readonly filter?: CheckedFilter;
  /** How many of them. */
  readonly count?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Decodes, upcasts and filters what was read, up to `count` events. */
export async function* recordedOf(
  registry: EventRegistry,
  lists: StoredLists,
  { filter, count, signal }: Wanted,
): AsyncGenerator<RecordedEvent> {
  let left = count ?? Number.POSITIVE_INFINITY;
  signal?.throwIfAborted();
  for await (const list of lists) {
    const keys = registry.fetchKeys(list);
    if (keys !== undefined) await keys;
    for (const stored of list) {
      for (const event of registry.read(stored)) {
        if (!registry.passes(filter, event)) continue;
        yield event;
        left -= 1;
        signal?.throwIfAborted();
      }
      // Behind all parts of a split event: whoever goes on from the next position would miss the rest of them.
      if (left <= 0) return;
    }
  }
}

/** The lists without the events that happened later. Looks at their headers only, so what is passed over need not be readable. */
export function happenedBy(lists: StoredLists, happenedByMs: number | undefined): StoredLists {
  if (happenedByMs === undefined) return lists;
  const happened = ({ bytes }: StoredEvent): boolean => {
    const { occurredAtMs, recordedAtMs } = readHeader(bytes);
    return (occurredAtMs ?? recordedAtMs) <= happenedByMs;
  };
  return (async function* (): StoredLists {
    for await (const list of lists) yield list.filter(happened);
  })();
}

/** The lists without events in whose stored bytes none of `texts` occurs, as text or as the bytes of a UUID. */
export async function* mentioning(lists: StoredLists, texts: readonly string[], signal?: AbortSignal): StoredLists {
  const needles = texts.flatMap(storedForms);
  for await (const list of lists) {
    signal?.throwIfAborted();
    const here = list.filter(({ bytes }) => needles.some((needle) => bytes.includes(needle)));
    if (here.length > 0) yield here;
  }
}

/** How a text may stand in the stored bytes of an event: as it is, as in JSON, and as the bytes of a UUID. */
function storedForms(text: string): readonly Buffer[] {
  const json = JSON.stringify(text).slice(1, -1);
  const forms = [Buffer.from(text), ...(json === text ? [] : [Buffer.from(json)])];
  return uuidPattern.test(text) ? [...forms, Buffer.from(text.replaceAll("-", ""), "hex")] : forms;
}
