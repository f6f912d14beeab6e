/** The state of a stream for a decider: from the cache or a snapshot, and the events behind that; else from the beginning. */

import { StreamDeletedError, StreamTruncatedError } from "../errors.ts";
import type { EventReader, StreamInfo } from "../log/event-store.ts";
import type { AnyDecider } from "./define-decider.ts";
import { evolveState, type Folding, initialStateOf } from "./fold.ts";
import { freezeDeeply } from "./freeze.ts";
import type { Snapshots } from "./snapshots.ts";
import type { FoldedState } from "./state-cache.ts";

export interface LoadedState extends FoldedState {
  /** The position of the stream's last event; 0 where it has none. */
  readonly position: number;
  /** How many events were folded for it. */
  readonly folded: number;
  /** How many subjects had been forgotten when it was begun. */
  readonly since: number;
}

export interface LoadOptions {
  readonly reader: EventReader;
  readonly snapshots: Snapshots;
  readonly decider: AnyDecider;
  readonly streamName: string;
  /** A state to go on from, if it is not beyond the stream. */
  readonly from: FoldedState | undefined;
  /** The reader looks at the past. */
  readonly past: boolean;
  /** Only events up to this version. */
  readonly toVersion?: number;
  readonly signal?: AbortSignal | undefined;
}

export function foldingOf({ name, initialState, evolve }: AnyDecider): Folding {
  return { name, initialState, evolve, exhaustive: true };
}

export async function loadState(options: LoadOptions): Promise<LoadedState> {
  const { reader, decider, streamName, toVersion = Number.POSITIVE_INFINITY, signal } = options;
  const folding = foldingOf(decider);
  const since = options.snapshots.erasures;
  const stream = await reader.streamInfo(streamName);
  if (stream === undefined) return { state: initialStateOf(folding), version: 0, position: 0, folded: 0, since };
  if (stream.deleted !== undefined)
    throw new StreamDeletedError(streamName, stream.deleted.at, stream.deleted.undeletableUntil);
  const last = Math.min(stream.version, toVersion);
  const start = (await startingPoint(options, stream, last)) ?? beginning(options, stream, initialStateOf(folding));
  let { state } = start;
  let { version, lastPosition: position } = stream;
  if (start.version < last) {
    const read = { fromVersion: start.version + 1, ...(signal === undefined ? {} : { signal }) };
    let seen = start.version;
    let whole = true;
    for await (const event of reader.readStream(streamName, read)) {
      if (event.version > toVersion) break;
      whole &&= event.version <= seen + 1;
      seen = event.version;
      state = evolveState(folding, state, event);
      // A stored event may be read as none at all, so that the last one seen does not tell the version.
      version = Math.max(version, event.version);
      position = Math.max(position, event.position);
    }
    // Events that are truncated while they are read would be missing in the state.
    if (!whole && (await lostSome(options, stream, start.version)))
      return await loadState({ ...options, from: undefined });
  }
  version = Math.min(version, toVersion);
  return { state: freezeDeeply(state), version, position, folded: version - start.version, since };
}

/** Where nothing is known yet. Throws `stream-truncated` where events that it would need are gone. */
function beginning({ decider }: LoadOptions, stream: StreamInfo, state: unknown): FoldedState {
  if (stream.truncatedBefore > 1 && decider.truncated === "refuse")
    throw new StreamTruncatedError(stream.streamName, stream.truncatedBefore);
  return { state, version: 0 };
}

async function lostSome({ reader, streamName }: LoadOptions, before: StreamInfo, from: number): Promise<boolean> {
  const after = await reader.streamInfo(streamName);
  if (after === undefined || after.truncatedBefore === before.truncatedBefore) return false;
  return after.truncatedBefore > from + 1;
}

async function startingPoint(
  { snapshots, decider, from, past }: LoadOptions,
  stream: StreamInfo,
  last: number,
): Promise<FoldedState | undefined> {
  // What was folded before the first event that is left lacks those in between.
  const least = stream.truncatedBefore - 1;
  if (from !== undefined && from.version <= last && from.version >= least) return from;
  if (decider.snapshots === undefined) return undefined;
  const snapshot = await snapshots.find(decider, decider.snapshots, stream, past);
  if (snapshot === undefined || snapshot.streamVersion > last || snapshot.streamVersion < least) return undefined;
  return { state: freezeDeeply(snapshot.state), version: snapshot.streamVersion };
}
