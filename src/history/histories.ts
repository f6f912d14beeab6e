/** Puts together what a store offers of its past: views as of a moment, and history now and then. On writers and replicas alike. */

import { knownDecider, streamNameFor } from "../decider/common.ts";
import type { StreamState } from "../decider/face.ts";
import type { SnapshotFinder } from "../decider/snapshot-reader.ts";
import { InvalidArgumentError } from "../errors.ts";
import type { Erasures } from "../log/erasures.ts";
import type { EventReader } from "../log/event-store.ts";
import type { StoreReader } from "../log/store-reader.ts";
import { projectionOf } from "../processors/define-projection.ts";
import { checkKnownEvents } from "../processors/definition.ts";
import type { EventRegistry } from "../schema/registry.ts";
import { type CheckedMoment, happenedAtMs } from "../vocabulary/moment.ts";
import type { Blame, HistoryEntry, PastDocuments, StreamDiff, Trace } from "./face.ts";
import { happenedReads } from "./happened-reads.ts";
import type { Look } from "./look.ts";
import { DocumentsThen } from "./past-documents.ts";
import { StateFold } from "./state-folds.ts";
import { streamHistory } from "./stream-history.ts";
import { blameStream, diffStream } from "./stream-states.ts";
import { traceCorrelation } from "./trace.ts";

/** What the history of a store is read from. */
export interface HistorySource {
  readonly reader: StoreReader;
  readonly registry: EventRegistry;
  readonly snapshots: SnapshotFinder;
  readonly erasures: Erasures;
}

/** `HistoryReader` without its types, which only callers know. */
export interface ErasedHistory {
  history(streamName: unknown, options?: unknown): AsyncGenerator<HistoryEntry<HistoryEntry["event"], unknown>>;
  diff(streamName: unknown, options?: unknown): Promise<StreamDiff<unknown> | undefined>;
  blame(streamName: unknown, options?: unknown): Promise<Blame<HistoryEntry["event"], unknown> | undefined>;
  trace(correlationId: unknown, options?: unknown): Promise<Trace>;
}

/** States, documents and history of a view, without their types. */
export interface ErasedView extends EventReader, ErasedHistory {
  load(decider: unknown, id: unknown): Promise<StreamState<unknown>>;
  documents(projection: unknown, options?: unknown): PastDocuments<unknown>;
}

/** The history of a store up to the position that `upTo` answers. */
export function historyOf(source: HistorySource, upTo: () => Promise<number>): ErasedHistory {
  return faceOf(lookAt(source, upTo));
}

/** The current state of a stream, for who has no cache of states. */
export async function loadThrough(
  source: HistorySource,
  upTo: () => Promise<number>,
  decider: unknown,
  id: unknown,
): Promise<StreamState<unknown>> {
  return await load(lookAt(source, upTo), decider, id);
}

/** All that can be read of a store as of a moment; `upTo`: the position that it is frozen at. */
export function viewOf(source: HistorySource, moment: CheckedMoment, upTo: () => Promise<number>): ErasedView {
  const look = lookAt(source, upTo, moment);
  return {
    ...look.reader,
    ...faceOf(look),
    load: (decider, id) => load(look, decider, id),
    documents: (given, options) => {
      const projection = projectionOf(given);
      if (projection === undefined)
        throw new InvalidArgumentError("projection", "must be made by defineProjection(...)");
      checkKnownEvents(source, projection.name, projection.events);
      return new DocumentsThen(look, projection, options);
    },
  };
}

function lookAt(source: HistorySource, upTo: () => Promise<number>, moment?: CheckedMoment): Look {
  const { reader: store, registry, snapshots, erasures } = source;
  const { occurredAtMs, order = "recorded" } = moment ?? {};
  const view = store.view<never>(upTo, occurredAtMs);
  const reader = occurredAtMs === undefined ? view : happenedReads(view);
  const usable = occurredAtMs === undefined && order === "recorded";
  return {
    reader,
    order,
    snapshots: usable ? snapshots : undefined,
    registry,
    erasures,
    mentioning: async function* (texts, from, to, signal) {
      const last = Math.min(to, await reader.lastPosition());
      for await (const event of store.mentioning(texts, from, last, signal))
        if (occurredAtMs === undefined || happenedAtMs(event) <= occurredAtMs) yield event;
    },
    ids: (from, to, signal) => store.ids(from, to, signal),
    truncatedBehind: async (streamName) => await store.truncatedBehind(streamName, await upTo()),
    positionAt: (timeMs) => store.positionAt(timeMs),
  };
}

function faceOf(look: Look): ErasedHistory {
  return {
    history: (streamName, options) => streamHistory(look, streamName, options),
    diff: (streamName, options) => diffStream(look, streamName, options),
    blame: (streamName, options) => blameStream(look, streamName, options),
    trace: (correlationId, options) => traceCorrelation(look, correlationId, options),
  };
}

async function load(look: Look, given: unknown, id: unknown): Promise<StreamState<unknown>> {
  const streamName = streamNameFor(knownDecider(look, given), id);
  const { state, version } = await new StateFold(look, given, streamName).newest(streamName);
  return { state, version };
}
