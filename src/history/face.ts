/** What can be asked of the past of a store, now or as of a moment. Pure types. */

import type { CommandSchemas, Decider } from "../decider/define-decider.ts";
import type { ReadDirection } from "../log/event-store.ts";
import type { Projection } from "../processors/define-projection.ts";
import type { FindDocumentsOptions, ListDocumentsOptions, ReadDocumentOptions } from "../processors/face.ts";
import type { CategoryOf, EventDefinitions, RecordedEventOf } from "../schema/define-events.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import type { StateDiff } from "./state-diff.ts";

/**
 * What stands in for the state of a stream where no decider is given: the data of its events merged, member by member at the
 * top. It shows what events brought, never that something ended. Data that is no plain object leaves it as it is.
 */
export type MergedData = Readonly<Record<string, unknown>>;

/** Whose states to show. Those of a stream that was truncated begin where what is left of it begins. */
export interface StateOptions<State, Own extends EventDefinitions, Commands extends CommandSchemas> {
  /** What a state is: its `evolve` folds the events. Without it states are `MergedData`. */
  readonly decider?: Decider<State, Own, Commands>;
  /** Ends it with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Which part of a stream's history, and how. Versions count from 1. */
export interface HistoryOptions<State, Own extends EventDefinitions, Commands extends CommandSchemas>
  extends StateOptions<State, Own, Commands> {
  /** Where to begin, this version included. Default: 1; backwards, the newest. */
  readonly fromVersion?: number;
  /** Default: `"forwards"`, the oldest first. */
  readonly direction?: ReadDirection;
  /** The most entries; what an upcaster has split stays together. Default: all. */
  readonly limit?: number;
  /** How many changes are told of one event. Default: 100. */
  readonly changesMax?: number;
  /** How far the causes of an event are followed. Default: 8; 0: not at all. */
  readonly causesMax?: number;
}

/** A cause of an event. */
export interface CauseLink {
  readonly id: string;
  /** Absent where no event of that id was found near enough: it may be that of a command, or of an event far back. */
  readonly event?: RecordedEvent;
}

/** One event of a stream: who, when, why and what, and what it made of the state. */
export interface HistoryEntry<Event = RecordedEvent, State = MergedData> extends StateDiff {
  /** What, with its version, position and times. */
  readonly event: Event;
  /** Who: the actor in its metadata. */
  readonly actor: string | undefined;
  /** What the chain of causes has in common; where nobody has said, the event's own id, with which such a chain begins. */
  readonly correlationId: string;
  /** Why: what led to it, the nearest first, as far as it is known. */
  readonly causes: readonly CauseLink[];
  /** The state that it met. Frozen. */
  readonly before: State;
  /** The state that it left. Frozen. */
  readonly after: State;
}

/** Which two versions of a stream to compare. */
export interface DiffOptions<State, Own extends EventDefinitions, Commands extends CommandSchemas>
  extends StateOptions<State, Own, Commands> {
  /** The earlier one. Default: 0, before the first event. */
  readonly fromVersion?: number;
  /** The later one. Default: the newest. */
  readonly toVersion?: number;
  /** How many changes are told. Default: 100. */
  readonly changesMax?: number;
}

/** What is different between two versions of a stream. */
export interface StreamDiff<State = MergedData> extends StateDiff {
  readonly streamName: string;
  readonly fromVersion: number;
  readonly toVersion: number;
  readonly before: State;
  readonly after: State;
}

/** Up to where to look for whoever set what. */
export interface BlameOptions<State, Own extends EventDefinitions, Commands extends CommandSchemas>
  extends StateOptions<State, Own, Commands> {
  /** Default: the newest. */
  readonly toVersion?: number;
  /** How many parts of the state are told. Default: 10,000. */
  readonly linesMax?: number;
}

/** One part of a state that has no parts of its own, and the event that set it last. */
export interface BlameLine<Event = RecordedEvent> {
  /** A JSON pointer (RFC 6901) into the state. */
  readonly path: string;
  readonly value: unknown;
  /** Absent where it stands as it was before the first event that the stream still has. */
  readonly event?: Event;
}

/** Which event last set each part of a stream's state. */
export interface Blame<Event = RecordedEvent, State = MergedData> {
  readonly streamName: string;
  readonly version: number;
  readonly state: State;
  readonly lines: readonly BlameLine<Event>[];
  readonly linesOmitted: number;
}

/** Where to look for what belongs together. */
export interface TraceOptions {
  /** Where to begin, this position included. Default: ten minutes before the time in an id that is a UUID v7, else 1. */
  readonly fromPosition?: number;
  /** Where to end. Default: the last position. */
  readonly toPosition?: number;
  /** The most events that are looked at. Default: 10,000,000. */
  readonly searchedMax?: number;
  /** The most events that are shown. Default: 10,000. */
  readonly eventsMax?: number;
  readonly signal?: AbortSignal;
}

/** An event, and what it led to. */
export interface TraceNode<Event = RecordedEvent> {
  readonly event: Event;
  /** In the order of their positions. */
  readonly effects: readonly TraceNode<Event>[];
}

/** All that belongs to a correlation id, as trees of causes. */
export interface Trace<Event = RecordedEvent> {
  readonly correlationId: string;
  /** Events whose cause is none of the others, in the order of their positions; none where nothing was found. */
  readonly roots: readonly TraceNode<Event>[];
  readonly events: number;
  /** The part of the log that was searched. */
  readonly fromPosition: number;
  readonly toPosition: number;
  /** Whether all that was asked for was searched, or a bound was reached before. */
  readonly complete: boolean;
}

/** The past of a store's streams, and how events led to one another. */
export interface HistoryReader<Definitions extends EventDefinitions = never> {
  /**
   * The events of a stream, each with who, when, why and what, and with what it changed; none where there is no such stream.
   * Backwards it reads the stream twice, because states are folded forwards. Throws as `readStream`, and `invalid-argument`
   * for options, a decider of another category, and an `evolve` that throws or returns nothing.
   */
  history<
    StreamName extends string,
    State = MergedData,
    Own extends Definitions = Definitions,
    Commands extends CommandSchemas = CommandSchemas,
  >(
    streamName: StreamName,
    options?: HistoryOptions<State, Own, Commands>,
  ): AsyncIterableIterator<HistoryEntry<RecordedEventOf<Definitions, CategoryOf<StreamName>>, State>>;
  /**
   * What is different between two versions of a stream; `undefined` where there is no such stream. Throws as `history`, and
   * `invalid-argument` for versions in the wrong order, or behind the newest; `stream-truncated` for one that is gone, unless the
   * decider folds what is left.
   */
  diff<State = MergedData, Own extends Definitions = Definitions, Commands extends CommandSchemas = CommandSchemas>(
    streamName: string,
    options?: DiffOptions<State, Own, Commands>,
  ): Promise<StreamDiff<State> | undefined>;
  /**
   * Which event last set each part of a stream's state, as `git blame` says it of lines: to another value than it had. Elements
   * of a list keep theirs where others come and go before them. `undefined` where there is no such stream. Reads the whole
   * stream. Throws as `diff`.
   */
  blame<
    StreamName extends string,
    State = MergedData,
    Own extends Definitions = Definitions,
    Commands extends CommandSchemas = CommandSchemas,
  >(
    streamName: StreamName,
    options?: BlameOptions<State, Own, Commands>,
  ): Promise<Blame<RecordedEventOf<Definitions, CategoryOf<StreamName>>, State> | undefined>;
  /**
   * All events with a correlation id, across streams, as trees of what led to what. There is no index of correlation ids: the log
   * is searched, from where such an id can occur at the earliest. Throws as `readAll`.
   */
  trace(correlationId: string, options?: TraceOptions): Promise<Trace<RecordedEventOf<Definitions>>>;
}

/** How documents as of a moment are come by. */
export interface PastDocumentsOptions {
  /** The most events that are folded. Default: 1,000,000; in the order of happening, 100,000. */
  readonly eventsMax?: number;
  readonly signal?: AbortSignal;
}

/**
 * The documents of a projection as of a moment: folded from the log up to there, by the projection's functions of today, when
 * the first of them is asked for, and kept in memory with this object. All of these throw as `readAll`, `invalid-argument` where
 * a function of the projection throws, and `overloaded` where they take more than `eventsMax` events, 100,000 documents or
 * 128 MiB.
 */
export interface PastDocuments<Document, Index extends string = string> {
  get(key: string): Promise<Document | undefined>;
  /** In the order of the keys, `undefined` for those that there were not; at most 10,000. */
  getMany(keys: readonly string[]): Promise<readonly (Document | undefined)[]>;
  list(
    options?: Omit<ListDocumentsOptions, keyof ReadDocumentOptions>,
  ): AsyncIterableIterator<readonly [key: string, document: Document]>;
  find(
    index: Index,
    value: string,
    options?: Omit<FindDocumentsOptions, keyof ReadDocumentOptions>,
  ): AsyncIterableIterator<readonly [key: string, document: Document]>;
}

/** Reads of documents as of a moment. */
export interface PastDocumentReader {
  /**
   * The documents of a projection as they were then. It need not be one that the store was opened with, but its events must be.
   * Throws `invalid-argument`.
   */
  documents<Document, Index extends string>(
    projection: Projection<Document, Index>,
    options?: PastDocumentsOptions,
  ): PastDocuments<Document, Index>;
}
