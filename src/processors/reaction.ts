/** One handling of one event by a reactor: with its key, its cause, and an end to its time. */

import { InvalidArgumentError } from "../errors.ts";
import { causedBy } from "../runtime/causation.ts";
import { withDeadline } from "../runtime/deadline.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { nameBytesMax } from "../vocabulary/names.ts";
import type { AnyReactor } from "./define-reactor.ts";
import { partOf } from "./parking.ts";

/**
 * What stands for a processor's handling of an event, for ever: its name, and the event's position and id. Of what would be
 * too long for an `idempotencyKey`, the SHA-256.
 */
export function handlingKey(processor: string, event: RecordedEvent, suffix = ""): string {
  return boundedKey(`${processor}:${event.position}.${partOf(event)}:${event.id}${suffix}`);
}

export function boundedKey(key: string): string {
  if (Buffer.byteLength(key) <= nameBytesMax) return key;
  return new Bun.CryptoHasher("sha256").update(key).digest("hex");
}

/** Runs `work` as caused by the event: what it appends says so. */
export function asCausedBy<T>(event: RecordedEvent, work: () => T): T {
  const { correlationId, actor } = event.metadata;
  const cause = { correlationId: correlationId ?? event.id, causationId: event.id };
  return causedBy(actor === undefined ? cause : { ...cause, actor }, work);
}

/** Rejects with what the handler threw, or with a time-out: then what it still does is its own affair. */
export async function react(
  { name, on, timeoutMs }: AnyReactor,
  event: RecordedEvent,
  attempt: number,
  closing: AbortSignal,
): Promise<void> {
  const handler = Object.hasOwn(on, event.type) ? on[event.type] : undefined;
  if (handler === undefined) return;
  const ended = new AbortController();
  const signal = AbortSignal.any([closing, ended.signal]);
  const context = { idempotencyKey: handlingKey(name, event), attempt, signal };
  const handling = Promise.try(() => asCausedBy(event, () => handler(event, context)));
  try {
    await withDeadline(
      handling.then(() => {}),
      timeoutMs,
      `${name}.on.${event.type}`,
    );
  } finally {
    ended.abort();
  }
}

/** Throws `invalid-argument` where the reactor's `key` does not answer with one. */
export function keyOf({ name, key }: Pick<AnyReactor, "name" | "key">, event: RecordedEvent): string {
  const found = key === undefined ? event.streamName : key(event);
  if (typeof found === "string") return found;
  throw new InvalidArgumentError(`${name}.key`, "must answer with a string");
}
