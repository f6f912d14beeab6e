/** The smallest piece of a log that a checkpoint can pass: the events that share a position. */

import type { RecordedEvent } from "../vocabulary/event.ts";

/** One event, or the parts of one that an upcaster split. */
export interface Step {
  readonly position: number;
  readonly events: readonly RecordedEvent[];
}

export function stepsOf(events: readonly RecordedEvent[]): readonly Step[] {
  const steps: { readonly position: number; readonly events: RecordedEvent[] }[] = [];
  for (const event of events) {
    const last = steps.at(-1);
    if (last?.position === event.position) last.events.push(event);
    else steps.push({ position: event.position, events: [event] });
  }
  return steps;
}
