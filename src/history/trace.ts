/**
 * All events of a correlation id, put together as trees of causes. They are found by searching the log for the id, from where
 * it can occur at the earliest; what was searched is said with what was found.
 */

import { checkInteger, checkOptions, checkSignal } from "../log/arguments.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { checkName } from "../vocabulary/names.ts";
import { timeOfId } from "./causes.ts";
import type { Trace, TraceNode } from "./face.ts";
import type { Look } from "./look.ts";

/** By how much the clock that made an id may be ahead of the store's. */
const clockSlackMs = 600_000;
const searchedMaxDefault = 10_000_000;
const eventsMaxDefault = 10_000;

/** See `HistoryReader.trace`. */
export async function traceCorrelation(look: Look, correlationId: unknown, options: unknown): Promise<Trace> {
  const id = checkName(correlationId, "correlationId");
  const given = checkOptions(options, ["fromPosition", "toPosition", "searchedMax", "eventsMax", "signal"]);
  const from = checkInteger(given.fromPosition, "fromPosition", 1);
  const to = checkInteger(given.toPosition, "toPosition", 0) ?? Number.POSITIVE_INFINITY;
  const searchedMax = checkInteger(given.searchedMax, "searchedMax", 1) ?? searchedMaxDefault;
  const eventsMax = checkInteger(given.eventsMax, "eventsMax", 1) ?? eventsMaxDefault;
  const signal = checkSignal(given.signal);
  const last = Math.min(to, await look.reader.lastPosition());
  const fromPosition = from ?? (await earliest(look, id));
  let toPosition = Math.max(fromPosition - 1, Math.min(last, fromPosition + searchedMax - 1));
  let complete = toPosition >= last;
  const found: RecordedEvent[] = [];
  for await (const event of look.mentioning([id], fromPosition, toPosition, signal)) {
    if (!belongsTo(event, id)) continue;
    if (found.length >= eventsMax) {
      toPosition = event.position - 1;
      complete = false;
      break;
    }
    found.push(event);
  }
  return { correlationId: id, roots: treesOf(found), events: found.length, fromPosition, toPosition, complete };
}

/** Where an id can occur at the earliest. */
async function earliest({ positionAt }: Look, id: string): Promise<number> {
  const timeMs = timeOfId(id);
  return timeMs === undefined ? 1 : (await positionAt(timeMs - clockSlackMs)) + 1;
}

/** The event that a chain begins with has no correlation id: its own id is that of the others. */
function belongsTo({ id, metadata }: RecordedEvent, correlationId: string): boolean {
  return metadata.correlationId === correlationId || id === correlationId || metadata.causationId === correlationId;
}

interface Growing {
  readonly event: RecordedEvent;
  readonly effects: Growing[];
}

/** The events, which ascend, under those that caused them. A cause comes before its effect, so there are no circles. */
function treesOf(events: readonly RecordedEvent[]): readonly TraceNode[] {
  const roots: Growing[] = [];
  const byId = new Map<string, Growing>();
  for (const event of events) {
    const node: Growing = { event, effects: [] };
    const cause = event.metadata.causationId === undefined ? undefined : byId.get(event.metadata.causationId);
    (cause?.effects ?? roots).push(node);
    // Parts of a split event share their id; what follows stands under the first.
    if (!byId.has(event.id)) byId.set(event.id, node);
  }
  return roots;
}
