/**
 * From stored events to what readers get: today's version of their data, by way of the upcasters of their type, which may rename
 * an event or split it into several. Upcasters are their author's code: whatever one throws, or fails to answer, makes that event
 * unreadable and no other.
 */

import { printable, UnreadableEventError } from "../errors.ts";
import type { StoredEvent } from "../format/envelope.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { partsOf, type SplitPart, type UpcastContext } from "./define-events.ts";
import type { RegisteredType, RegisteredTypes } from "./registered-types.ts";
import type { ReadableEvent } from "./sealing.ts";

/** A stored event of an older version, as the events of today that it is. Throws `unreadable-event`. */
export function upcast(
  stored: StoredEvent,
  decoded: ReadableEvent,
  registered: RegisteredType,
  types: RegisteredTypes,
): readonly RecordedEvent[] {
  const { type, definition } = registered;
  const unreadable = (problem: string, cause?: unknown): UnreadableEventError =>
    new UnreadableEventError({ ...stored, type: decoded.type }, problem, cause);
  const context: UpcastContext = {
    type,
    streamName: stored.streamName,
    version: stored.version,
    recordedAt: new Date(decoded.recordedAtMs),
  };
  let data = decoded.data;
  for (let from = decoded.schemaVersion; from !== definition.version; from += 1) {
    const upcaster = definition.upcast[from];
    if (upcaster === undefined) {
      throw unreadable(`no upcaster leads from its schema version ${from} to ${definition.version}`);
    }
    try {
      data = upcaster(data, context);
    } catch (cause) {
      throw unreadable(`the upcaster of schema version ${from} threw`, cause);
    }
    if (data === undefined || data instanceof Promise) {
      if (data instanceof Promise) data.catch(() => {});
      throw unreadable(
        `the upcaster of schema version ${from} returned ${data === undefined ? "nothing" : "a promise"}`,
      );
    }
    const parts = partsOf(data);
    if (parts !== undefined) return splitInto(parts, { stored, decoded, registered, types, unreadable });
  }
  return [recorded(stored, decoded, type, definition.version, data)];
}

interface BeingSplit {
  readonly stored: StoredEvent;
  readonly decoded: ReadableEvent;
  readonly registered: RegisteredType;
  readonly types: RegisteredTypes;
  readonly unreadable: (problem: string) => UnreadableEventError;
}

function splitInto(
  parts: readonly SplitPart[],
  { stored, decoded, registered, types, unreadable }: BeingSplit,
): readonly RecordedEvent[] {
  return parts.map((part, index) => {
    const target = types.find(stored.streamName, part.type);
    if (target === undefined || !registered.definition.splitsInto.includes(part.type)) {
      throw unreadable(`its upcaster split it into ${printable(part.type)}, which splitsInto does not name`);
    }
    const event = recorded(stored, decoded, part.type, target.definition.version, part.data);
    return { ...event, part: { index, count: parts.length } };
  });
}

/** An event as readers get it, with data of this version. */
export function recorded(
  stored: StoredEvent,
  decoded: ReadableEvent,
  type: string,
  schemaVersion: number,
  data: unknown,
): RecordedEvent {
  return {
    id: decoded.id,
    type,
    schemaVersion,
    streamName: stored.streamName,
    version: stored.version,
    position: stored.position,
    recordedAt: new Date(decoded.recordedAtMs),
    ...(decoded.occurredAtMs === undefined ? {} : { occurredAt: new Date(decoded.occurredAtMs) }),
    data,
    metadata: decoded.metadata,
    tags: decoded.tags,
    ...(decoded.personal === undefined ? {} : { personal: decoded.personal }),
  };
}
