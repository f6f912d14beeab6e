/** The trivial model of a store: lists in memory and the rules of the README, without any of the store's machinery. */

import type { CommitRequest, EventFilter, ExpectedVersion, FilterClause } from "../../src/index.ts";

export interface ModelEvent {
  readonly id?: string | undefined;
  readonly streamName: string;
  readonly version: number;
  readonly position: number;
  readonly type: string;
  readonly tags: readonly string[];
  readonly serial: number;
}

export interface ModelResult {
  readonly position: number;
  readonly streams: readonly { streamName: string; streamVersion: number }[];
}

export type ModelOutcome =
  | { readonly kind: "accepted"; readonly result: ModelResult }
  | { readonly kind: "replayed"; readonly result: ModelResult }
  | { readonly kind: "conflict" }
  | { readonly kind: "invalid" };

export interface ModelAppend {
  readonly streamName: string;
  readonly expectedVersion: ExpectedVersion;
  readonly events: readonly {
    id?: string | undefined;
    type: string;
    tags: readonly string[];
    data: { serial: number };
  }[];
}

export interface ModelCommit extends Omit<CommitRequest, "appends"> {
  readonly appends: readonly ModelAppend[];
}

export function modelMatches(filter: EventFilter | undefined, event: ModelEvent): boolean {
  if (filter === undefined) return true;
  const clauses: readonly FilterClause[] = Array.isArray(filter) ? filter : [filter as FilterClause];
  return clauses.some(
    ({ types, categories, tags }) =>
      (types === undefined || types.includes(event.type)) &&
      (categories === undefined || categories.includes(event.streamName.split("-")[0] ?? "")) &&
      (tags ?? []).every((tag) => event.tags.includes(tag)),
  );
}

export class StoreModel {
  readonly events: ModelEvent[] = [];
  readonly keys: Map<string, ModelResult> = new Map();

  stream(streamName: string): readonly ModelEvent[] {
    return this.events.filter((event) => event.streamName === streamName);
  }

  commit(commit: ModelCommit): ModelOutcome {
    const known = commit.idempotencyKey === undefined ? undefined : this.keys.get(commit.idempotencyKey);
    if (known !== undefined) {
      const names = known.streams.map(({ streamName }) => streamName).toSorted();
      const same = commit.appends.map(({ streamName }) => streamName).toSorted();
      return names.join("\n") === same.join("\n") ? { kind: "replayed", result: known } : { kind: "invalid" };
    }
    const all = commit.appends.flatMap(({ streamName, events }) =>
      events.map((event) => this.#byId(streamName, event.id)),
    );
    const found = all.filter((stored) => stored !== undefined);
    if (found.length > 0) {
      return found.length === all.length ? { kind: "replayed", result: resultOf(commit, found) } : { kind: "invalid" };
    }
    if (this.#isInConflict(commit)) return { kind: "conflict" };
    return { kind: "accepted", result: this.#accept(commit) };
  }

  #byId(streamName: string, id: string | undefined): ModelEvent | undefined {
    if (id === undefined) return undefined;
    return this.events.findLast((event) => event.id === id && event.streamName === streamName);
  }

  #isInConflict(commit: ModelCommit): boolean {
    const broken = [...commit.appends, ...(commit.checks ?? [])].some(({ streamName, expectedVersion }) => {
      const version = this.stream(streamName).length;
      if (expectedVersion === "any") return false;
      if (expectedVersion === "no-stream") return version !== 0;
      if (expectedVersion === "stream-exists") return version === 0;
      return version !== expectedVersion;
    });
    const condition = commit.failIfMatch;
    return (
      broken ||
      (condition !== undefined &&
        this.events.some(
          (event) => event.position > (condition.afterPosition ?? 0) && modelMatches(condition.filter, event),
        ))
    );
  }

  #accept(commit: ModelCommit): ModelResult {
    const stored: ModelEvent[] = [];
    for (const { streamName, events } of commit.appends) {
      for (const { id, type, tags, data } of events) {
        const place = { streamName, version: this.stream(streamName).length + 1, position: this.events.length + 1 };
        const event = { ...place, id, type, tags, serial: data.serial };
        this.events.push(event);
        stored.push(event);
      }
    }
    const result = resultOf(commit, stored);
    if (commit.idempotencyKey !== undefined) this.keys.set(commit.idempotencyKey, result);
    return result;
  }
}

function resultOf(commit: ModelCommit, stored: readonly ModelEvent[]): ModelResult {
  return {
    position: Math.max(...stored.map((event) => event.position)),
    streams: commit.appends.map(({ streamName }) => ({
      streamName,
      streamVersion: Math.max(
        ...stored.filter((event) => event.streamName === streamName).map((event) => event.version),
      ),
    })),
  };
}
