/**
 * What a store has promised its callers, commit by commit, and whether a log keeps it: acknowledged is there once, where it
 * was said to be; not-applied is not there; unknown is there once or not at all, and always all of it or nothing.
 */

import { expect } from "bun:test";

/** What a caller knows of a commit. One that was never answered is `unknown`. */
export type Fate = "acknowledged" | "not-applied" | "unknown";

export interface LedgerPart {
  readonly streamName: string;
  readonly ids: readonly string[];
}

export interface LedgerEntry {
  readonly parts: readonly LedgerPart[];
  fate: Fate;
  /** Of the commit's last event, where it is acknowledged. */
  position?: number;
  /** Of each stream after the commit, in the order of `parts`, where it is acknowledged. */
  versions?: readonly number[];
}

export interface LoggedEvent {
  readonly id: string;
  readonly streamName: string;
  readonly version: number;
  readonly position: number;
}

export class Ledger {
  readonly entries: LedgerEntry[] = [];

  begin(parts: readonly LedgerPart[]): LedgerEntry {
    const entry: LedgerEntry = { parts, fate: "unknown" };
    this.entries.push(entry);
    return entry;
  }

  count(fate: Fate): number {
    return this.entries.filter((entry) => entry.fate === fate).length;
  }

  /** Throws where `log`, the whole of it in order, is not what was promised. */
  check(log: readonly LoggedEvent[]): void {
    expectOneHistory(log);
    const byId = new Map(log.map((event) => [event.id, event]));
    for (const entry of this.entries) checkEntry(entry, byId);
    const begun = new Set(this.entries.flatMap((entry) => entry.parts.flatMap((part) => part.ids)));
    expect(log.map((event) => event.id).filter((id) => !begun.has(id))).toEqual([]);
  }
}

/** Positions and each stream's versions are contiguous from 1, and no id is there twice. */
export function expectOneHistory(log: readonly LoggedEvent[]): void {
  expect(log.map((event) => event.position)).toEqual(log.map((_, index) => index + 1));
  const versions = new Map<string, number>();
  for (const { streamName, version } of log) {
    expect([streamName, version]).toEqual([streamName, (versions.get(streamName) ?? 0) + 1]);
    versions.set(streamName, version);
  }
  expect(new Set(log.map((event) => event.id)).size).toBe(log.length);
}

function checkEntry(entry: LedgerEntry, byId: ReadonlyMap<string, LoggedEvent>): void {
  const ids = entry.parts.flatMap((part) => part.ids);
  const stored = ids.map((id) => byId.get(id));
  const found = stored.filter((event) => event !== undefined);
  if (entry.fate === "not-applied" && found.length > 0) throw new Error(`Not applied, and there: ${ids}`);
  if (entry.fate === "acknowledged" && found.length < ids.length) throw new Error(`Acknowledged, and lost: ${ids}`);
  if (found.length !== 0 && found.length !== ids.length) throw new Error(`Only a part is there: ${ids}`);
  if (found.length === 0) return;
  // In one piece, in order.
  const first = found[0]?.position ?? 0;
  expect(found.map((event) => event.position)).toEqual(ids.map((_, index) => first + index));
  for (const [index, part] of entry.parts.entries()) {
    const own = part.ids.map((id) => byId.get(id));
    expect(own.map((event) => event?.streamName)).toEqual(part.ids.map(() => part.streamName));
    if (entry.fate === "acknowledged") expect(own.at(-1)?.version).toBe(entry.versions?.[index]);
  }
  if (entry.fate === "acknowledged") expect(found.at(-1)?.position).toBe(entry.position);
}
