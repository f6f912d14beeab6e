/**
 * Rows that were read, in bounded memory: single ones by key, and runs of rows that follow one another. What is written is
 * forgotten when the write begins; what was read while a write of the same keys was under way or has happened since is not
 * kept. So what is here is what the storage would answer. The least recently used goes first.
 */

import type { KvOperation } from "./kv.ts";

/** A larger row is not kept, and a run ends where it has so many bytes. */
export const keptRowBytesMax: number = 64 * 1024;
export const keptRunBytesMax: number = 512 * 1024;
/** What an entry, and each row of a run, costs beside its bytes. */
const overheadBytes = 192;
/** How full each half is after making room: finding the oldest passes over what was deleted before it. */
const evictedTo = 0.9;
/** What was read before so many writes is not kept, for nobody remembers what they wrote. */
const writesRememberedMax = 8;

/** One character a byte, so that strings sort as the bytes do. */
export function toBinary(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

/** A row of a run, its key as a binary string. */
export interface RunRow {
  readonly name: string;
  readonly value: Uint8Array;
}

/** All rows from `start`, inclusive, to `coveredTo`, exclusive, as binary strings; `start` is before `coveredTo`. */
export interface Run {
  readonly start: string;
  readonly rows: readonly RunRow[];
  readonly coveredTo: string;
}

/** A read under way that may be kept: it saw at least what had ended when it began. */
export interface Fill {
  readonly after: number;
}

/** What a write has changed. Its keys are made, and sorted, only where a read has to know them. */
interface RememberedWrite {
  readonly number: number;
  operations: readonly KvOperation[];
  keys: readonly string[] | undefined;
}

function keysOf(write: RememberedWrite): readonly string[] {
  write.keys ??= write.operations.map(({ key }) => toBinary(key)).sort();
  write.operations = [];
  return write.keys;
}

/** The first index whose name is at or after `name`. */
function firstAtOrAfter<T>(items: readonly T[], nameOf: (item: T) => string, name: string): number {
  let lower = 0;
  let upper = items.length;
  while (lower < upper) {
    const middle = (lower + upper) >>> 1;
    const item = items[middle];
    if (item !== undefined && nameOf(item) < name) lower = middle + 1;
    else upper = middle;
  }
  return lower;
}

const nameOfRow = (row: RunRow): string => row.name;
const startOfRun = (run: Run): string => run.start;

/** Where the rows of a run at or after `name` begin. */
export function rowsFrom(run: Run, name: string): number {
  return firstAtOrAfter(run.rows, nameOfRow, name);
}

/** Runs are found by the first byte of a key. */
function withinFamily(run: Run): Run {
  const end = String.fromCharCode(run.start.charCodeAt(0) + 1);
  if (run.coveredTo <= end) return run;
  return { start: run.start, rows: run.rows.slice(0, rowsFrom(run, end)), coveredTo: end };
}

function costOf(run: Run): number {
  let cost = overheadBytes + run.start.length;
  for (const row of run.rows) cost += overheadBytes + row.name.length + row.value.length;
  return cost;
}

export class RowCache {
  readonly #halfMax: number;
  /** In the order of their last use, oldest first. */
  readonly #rows = new Map<string, Uint8Array>();
  #rowsBytes = 0;
  readonly #runs = new Map<string, Run>();
  #runsBytes = 0;
  /** The same runs in order, which do not overlap, by first byte: most of what is written is not what is scanned. */
  readonly #ordered = new Map<number, Run[]>();
  readonly #fills = new Set<Fill>();
  #writes: RememberedWrite[] = [];
  #begun = 0;
  /** The numbers of writes under way, in their order, and of those of which nobody knows how they ended. */
  readonly #underWay = new Set<number>();

  /** At most so many bytes: one half for single rows, one for runs. */
  constructor(bytesMax: number) {
    this.#halfMax = bytesMax / 2;
  }

  get bytes(): number {
    return this.#rowsBytes + this.#runsBytes;
  }

  row(key: string): Uint8Array | undefined {
    const value = this.#rows.get(key);
    if (value === undefined) return undefined;
    this.#rows.delete(key);
    this.#rows.set(key, value);
    return value;
  }

  /** The run that says which rows there are from `name` on. */
  run(name: string): Run | undefined {
    const run = this.#runBefore(name);
    if (run === undefined || run.coveredTo <= name) return undefined;
    this.#runs.delete(run.start);
    this.#runs.set(run.start, run);
    return run;
  }

  /** To be called before the storage is asked; to be ended in any case. */
  beginFill(): Fill {
    const [oldest = this.#begun + 1] = this.#underWay;
    const fill = { after: oldest - 1 };
    this.#fills.add(fill);
    return fill;
  }

  endFill(fill: Fill): void {
    this.#fills.delete(fill);
  }

  /** Keeps a row that was read. The bytes are the cache's from now on. */
  keepRow(key: string, value: Uint8Array, fill: Fill): void {
    if (value.length > keptRowBytesMax || this.#mayBeOld(fill, key, `${key}\0`)) return;
    this.#forgetRow(key);
    this.#rows.set(key, value);
    this.#rowsBytes += overheadBytes + key.length + value.length;
    if (this.#rowsBytes > this.#halfMax) this.#evictRows();
  }

  /** Keeps a run that was read, as far as its keys share their first byte. The bytes are the cache's from now on. */
  keepRun(read: Run, fill: Fill): void {
    const run = withinFamily(read);
    if (run.start >= run.coveredTo || this.#mayBeOld(fill, run.start, run.coveredTo)) return;
    const before = this.#runBefore(run.start);
    if (before !== undefined && before.coveredTo >= run.coveredTo) return;
    if (before !== undefined && before.coveredTo > run.start) this.#forgetRun(before);
    const ordered = this.#orderedOf(run.start);
    const from = firstAtOrAfter(ordered, startOfRun, run.start);
    const to = firstAtOrAfter(ordered, startOfRun, run.coveredTo);
    for (const overlapping of ordered.slice(from, to)) this.#forgetRun(overlapping);
    ordered.splice(from, 0, run);
    this.#runs.set(run.start, run);
    this.#runsBytes += costOf(run);
    if (this.#runsBytes > this.#halfMax) this.#evictRuns();
  }

  /** Forgets what is about to change. Answers with the write's number, for `writeEnds`: never, where nobody knows what it did. */
  writeBegins(operations: readonly KvOperation[]): number {
    this.#begun += 1;
    this.#underWay.add(this.#begun);
    this.#forgetChanged(operations);
    return this.#begun;
  }

  writeEnds(write: number): void {
    this.#underWay.delete(write);
    // What began before saw neither less nor more than this: only reads under way have to know what it wrote.
    if (this.#fills.size === 0) this.#writes = this.#writes.filter(({ number }) => this.#underWay.has(number));
    else for (const remembered of this.#writes) keysOf(remembered);
  }

  #forgetChanged(operations: readonly KvOperation[]): void {
    this.#writes.push({ number: this.#begun, operations, keys: undefined });
    if (this.#writes.length > writesRememberedMax) this.#writes.shift();
    if (this.#rows.size === 0 && this.#runs.size === 0) return;
    for (const { key } of operations) {
      const name = toBinary(key);
      this.#forgetRow(name);
      const run = this.#runBefore(name);
      if (run !== undefined && run.coveredTo > name) this.#forgetRun(run);
    }
  }

  /** Whether a key in the span may have been written since the read began. */
  #mayBeOld(fill: Fill, start: string, end: string): boolean {
    const since = this.#writes.filter(({ number }) => number > fill.after);
    if (since.length < this.#begun - fill.after) return true;
    return since.some((write) => {
      const keys = keysOf(write);
      const key = keys[firstAtOrAfter(keys, (name) => name, start)];
      return key !== undefined && key < end;
    });
  }

  #orderedOf(name: string): Run[] {
    const family = name.charCodeAt(0);
    const found = this.#ordered.get(family);
    if (found !== undefined) return found;
    const made: Run[] = [];
    this.#ordered.set(family, made);
    return made;
  }

  /** The last run that starts at or before `name`. */
  #runBefore(name: string): Run | undefined {
    const ordered = this.#ordered.get(name.charCodeAt(0));
    if (ordered === undefined || ordered.length === 0) return undefined;
    const index = firstAtOrAfter(ordered, startOfRun, name);
    const same = ordered[index];
    return same?.start === name ? same : ordered[index - 1];
  }

  #forgetRow(key: string): void {
    const value = this.#rows.get(key);
    if (value === undefined) return;
    this.#rows.delete(key);
    this.#rowsBytes -= overheadBytes + key.length + value.length;
  }

  #forgetRun(run: Run): void {
    this.#runs.delete(run.start);
    this.#runsBytes -= costOf(run);
    const ordered = this.#orderedOf(run.start);
    const index = firstAtOrAfter(ordered, startOfRun, run.start);
    if (ordered[index] === run) ordered.splice(index, 1);
  }

  #evictRows(): void {
    for (const key of this.#rows.keys()) {
      if (this.#rowsBytes <= this.#halfMax * evictedTo) return;
      this.#forgetRow(key);
    }
  }

  #evictRuns(): void {
    for (const run of this.#runs.values()) {
      if (this.#runsBytes <= this.#halfMax * evictedTo) return;
      this.#forgetRun(run);
    }
  }
}
