/** Events of several streams as a store would hand them out: through the same schemas, and numbered in order. */

import { stampRecordedAt } from "../format/envelope.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import { EventRegistry } from "../schema/registry.ts";
import type { NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { countedIds } from "./test-doubles.ts";

/** An event that was appended, and where; by default to a stream of its category, or to `"specified-1"`. */
export interface SpecifiedEvent<Type extends string = string, Data = unknown> extends NewEvent<Type, Data> {
  readonly streamName?: string;
}

export interface Recorder {
  /** Throws `invalid-event` or `invalid-argument` for what a store would not take. */
  record(event: SpecifiedEvent, now: Date): readonly RecordedEvent[];
}

export function recorder(definitions: readonly EventDefinitions[]): Recorder {
  const registry = new EventRegistry(definitions, countedIds());
  const versions = new Map<string, number>();
  let position = 0;
  const streamOf = ({ type }: SpecifiedEvent): string => {
    const category = definitions.find(({ types }) => Object.hasOwn(types, type))?.category;
    return `${category ?? "specified"}-1`;
  };
  return {
    record: ({ streamName: given, ...event }, now) => {
      const streamName = given ?? streamOf(event);
      const { bytes } = registry.prepare(streamName, event, "event", {});
      stampRecordedAt(bytes, now.getTime());
      const version = (versions.get(streamName) ?? 0) + 1;
      versions.set(streamName, version);
      position += 1;
      return registry.read({ streamName, version, position, bytes });
    },
  };
}
