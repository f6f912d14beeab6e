/** The two shapes of an event: as it goes in, and as it comes out. Pure types. */

/** Who and why, plus whatever else the user keeps beside the data. Plain JSON-like values. */
export interface EventMetadata {
  /** What the whole chain of causes has in common; by default the first event's id. */
  readonly correlationId?: string;
  /** The id of the event (or command) that led to this one. */
  readonly causationId?: string;
  /** Who did it. */
  readonly actor?: string;
  readonly [key: string]: unknown;
}

/** An event to append. */
export interface NewEvent<Type extends string = string, Data = unknown> {
  readonly type: Type;
  /** What JSON can say plus `Date`, `bigint`, `Uint8Array`, `Map` and `Set`; at most 1 MiB encoded. */
  readonly data: Data;
  /** Makes a retry harmless. By default a new UUID v7. */
  readonly id?: string;
  readonly metadata?: EventMetadata;
  /** The business's own time, for imports and late knowledge. */
  readonly occurredAt?: Date;
  /**
   * The version of the data's schema, from 1. For imports into a store without definitions, which else stores 1; one with
   * definitions writes today's version, and refuses any other.
   */
  readonly schemaVersion?: number;
  /** Added to the tags that the event's definition derives from its data. */
  readonly tags?: readonly string[];
}

/** A stored event. It is shared between readers: treat it as frozen. */
export interface RecordedEvent<Type extends string = string, Data = unknown> {
  readonly id: string;
  readonly type: Type;
  /** The version of the data's schema; events without a definition have 1. */
  readonly schemaVersion: number;
  readonly streamName: string;
  /** Its place in the stream, from 1. */
  readonly version: number;
  /** Its place in the store, from 1, contiguous. */
  readonly position: number;
  /** When the writer stored it; never goes back as positions grow. */
  readonly recordedAt: Date;
  readonly occurredAt?: Date;
  readonly data: Data;
  /**
   * Where an upcaster split one stored event into several: which of them this is, from 0. They share id, version and
   * position, so a checkpoint is taken behind the last one, where `index + 1` is `count`.
   */
  readonly part?: { readonly index: number; readonly count: number };
  readonly metadata: EventMetadata;
  readonly tags: readonly string[];
  /** Absent where nothing of the data is personal. */
  readonly personal?: PersonalPart;
}

/** What of an event's data is stored encrypted, and whether it can still be read. */
export interface PersonalPart {
  /** Stands for the subject without naming it; the same in all its events and in `$SubjectForgotten`. */
  readonly subject: string;
  /** Paths of the fields that are in this event, in the data as it was stored. */
  readonly fields: readonly string[];
  /**
   * Why they are `null`: the subject is `"forgotten"`, or they are `"hidden"` because the store was opened so. Absent where they
   * are as they were stored.
   */
  readonly erased?: "forgotten" | "hidden";
  /** When the subject was forgotten. */
  readonly erasedAt?: Date;
}
