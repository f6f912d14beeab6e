/** A decider on a made-up stream: events in, a command, and what it came to; through the schemas and the encoding of a store. */

import { type Command, checkDecider } from "../decider/define-decider.ts";
import { foldOnto, initialStateOf } from "../decider/fold.ts";
import { DomainRefusal } from "../decider/refusal.ts";
import { foldingOf } from "../decider/state-loader.ts";
import { validCommand } from "../decider/valid-command.ts";
import { stampRecordedAt } from "../format/envelope.ts";
import { EventRegistry } from "../schema/registry.ts";
import type { NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { countedIds } from "./test-doubles.ts";

export type Decided =
  | { readonly kind: "decided"; readonly events: readonly RecordedEvent[]; readonly state: unknown }
  | { readonly kind: "refused"; readonly reason: string; readonly data: unknown };

/** Beside type and data, compared where the expected event says them. */
const comparedParts = ["id", "metadata", "occurredAt", "tags"] as const;

export interface SpecifiedDecider {
  execute(command: unknown): Decided | Promise<Decided>;
  /** The events reduced to what the expected ones speak of. */
  comparable(events: readonly RecordedEvent[], expected: readonly unknown[]): readonly object[];
  /** The expected events as a reader would see them, reduced in the same way. */
  expectedEvents(expected: readonly unknown[]): readonly object[];
}

export function specified(given: unknown, events: readonly NewEvent[], now: Date): SpecifiedDecider {
  const decider = checkDecider(given);
  const streamName = `${decider.events.category}-specified`;
  const registry = new EventRegistry([decider.events], countedIds());
  const recorded = (list: readonly NewEvent[], after: number, argument: string): readonly RecordedEvent[] =>
    list.flatMap((event, index) => {
      const { bytes } = registry.prepare(streamName, event, `${argument}[${index}]`, {});
      stampRecordedAt(bytes, now.getTime());
      const version = after + index + 1;
      return registry.read({ streamName, version, position: version, bytes });
    });
  const folding = foldingOf(decider);
  const history = recorded(events, 0, "given");
  const decide = (command: Command, state: unknown): unknown =>
    decider.decide[command.type]?.(command, state, { streamName, streamVersion: events.length, now, metadata: {} });
  const decided = (state: unknown, result: unknown): Decided => {
    if (!Array.isArray(result)) throw new TypeError("decide must return a list of events");
    const added = recorded(result, events.length, "decided");
    return { kind: "decided", events: added, state: foldOnto(folding, state, added) };
  };
  return {
    execute: (given) => {
      const command = validCommand(decider, given);
      const state = foldOnto(folding, initialStateOf(folding), history);
      try {
        const result = decide(command, state);
        if (!(result instanceof Promise)) return decided(state, result);
        return result.then((list) => decided(state, list)).catch(refusalOr);
      } catch (error) {
        return refusalOr(error);
      }
    },
    comparable: (list, expected) => list.map((event, index) => reduced(event, expected[index])),
    expectedEvents: (expected) =>
      recorded(expected as readonly NewEvent[], events.length, "expected").map((event, index) =>
        reduced(event, expected[index]),
      ),
  };
}

function refusalOr(error: unknown): Decided {
  if (error instanceof DomainRefusal) return { kind: "refused", reason: error.reason, data: error.data };
  throw error;
}

function reduced(event: RecordedEvent, expected: unknown): object {
  const parts = comparedParts.filter((part) => typeof expected === "object" && expected !== null && part in expected);
  return {
    type: event.type,
    data: event.data,
    ...Object.fromEntries(parts.map((part) => [part, event[part]])),
  };
}
