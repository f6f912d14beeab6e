/**
 * Answers filters from the stored index: segment by segment, leaping over segments in which a required name does not
 * occur, so that a rare combination costs what is rare about it. Only whole segments up to `indexedTo` are here.
 */

import { indexKey, indexSegmentSize, indexSpan, segmentOf, segmentOfIndexKey } from "../format/key-families.ts";
import { decodeMergedPostings, decodePostings, isMergedPostings } from "../format/records.ts";
import type { KvCursor, KvReader, KvRow } from "../kv/kv.ts";
import type { FilterClause } from "../vocabulary/filter.ts";
import { evaluate, groupsOf, type IndexTerm, type Postings } from "./term-index.ts";

/** Rows fetched at once: few after a leap, more while segments follow one another. */
const rowsAtOnceMax = 64;
/** Reading backwards goes by windows of segments that double, because scans only ascend. */
const windowSegmentsMin = 16;
const windowSegmentsMax = 4_096;

interface TermEntry {
  readonly segment: number;
  /** The positions in that segment; of a row of one segment, decoded when they are wanted. */
  readonly postings: () => Postings;
}

/** The entries of a row: one, or, where it was merged, one for each segment in which the name occurs. */
function entriesOf(row: KvRow): readonly TermEntry[] {
  const last = segmentOfIndexKey(row.key);
  if (!isMergedPostings(row)) return [{ segment: last, postings: () => decodePostings(last, row) }];
  const segments = Map.groupBy(decodeMergedPostings(row), segmentOf);
  return [...segments].map(([segment, positions]) => ({ segment, postings: () => positions }));
}

/** One name's entries, moving forward. */
class TermCursor {
  readonly term: IndexTerm;
  readonly #kv: KvReader;
  #cursor: KvCursor | undefined;
  #entries: readonly TermEntry[] = [];
  /** The segment of the key of the last row that was fetched. */
  #reached: number | undefined;
  #at = 0;
  #rowsAtOnce = 1;
  #exhausted = false;

  constructor(kv: KvReader, term: IndexTerm) {
    this.#kv = kv;
    this.term = term;
  }

  /** The segment of the first entry at or after `segment`; infinity where there is none. */
  async advanceTo(segment: number): Promise<number> {
    for (;;) {
      const entry = this.#entries[this.#at];
      if (entry !== undefined && entry.segment >= segment) return entry.segment;
      if (entry !== undefined) this.#at += 1;
      else if (this.#exhausted) return Number.POSITIVE_INFINITY;
      else await this.#fetch(segment);
    }
  }

  /** The postings of the current entry, if it is of that segment. */
  postings(segment: number): Postings | undefined {
    const entry = this.#entries[this.#at];
    return entry?.segment === segment ? entry.postings() : undefined;
  }

  close(): void {
    this.#cursor?.close();
  }

  async #fetch(segment: number): Promise<void> {
    const { kind, value } = this.term;
    const last = this.#reached;
    if (this.#cursor === undefined) {
      this.#cursor = await this.#kv.scan(indexSpan(kind, value, segment), "lookup");
    } else if (last !== undefined && segment > last + 1) {
      await this.#cursor.seek(indexKey(kind, value, segment));
      this.#rowsAtOnce = 1;
    }
    const rows = await this.#cursor.next(this.#rowsAtOnce);
    this.#rowsAtOnce = Math.min(rowsAtOnceMax, this.#rowsAtOnce * 4);
    this.#entries = rows.flatMap(entriesOf);
    const newest = rows.at(-1);
    if (newest !== undefined) this.#reached = segmentOfIndexKey(newest.key);
    this.#at = 0;
    this.#exhausted = rows.length === 0;
  }
}

/** One clause over the stored index: every group of names must occur in a segment for it to count. */
class ClauseCursor {
  readonly clause: FilterClause;
  readonly #groups: readonly (readonly TermCursor[])[];

  constructor(kv: KvReader, clause: FilterClause) {
    this.clause = clause;
    this.#groups = groupsOf(clause).map((group) => group.map((term) => new TermCursor(kv, term)));
  }

  /** The first segment at or after `from` in which each group occurs. */
  async advanceTo(from: number): Promise<number> {
    let segment = from;
    for (let settled = false; !settled; ) {
      settled = true;
      for (const group of this.#groups) {
        const reached = Math.min(...(await Promise.all(group.map((cursor) => cursor.advanceTo(segment)))));
        if (reached > segment) settled = false;
        segment = reached;
        if (segment === Number.POSITIVE_INFINITY) return segment;
      }
    }
    return segment;
  }

  matches(segment: number): Postings {
    const cursors = this.#groups.flat();
    return evaluate([this.clause], (kind, value) =>
      cursors.find(({ term }) => term.kind === kind && term.value === value)?.postings(segment),
    );
  }

  close(): void {
    for (const cursor of this.#groups.flat()) cursor.close();
  }
}

export class IndexReader {
  readonly #kv: KvReader;

  constructor(kv: KvReader) {
    this.#kv = kv;
  }

  /** The positions from `from` to `to` that match, ascending, in lists of at most a segment each. */
  async *forwards(clauses: readonly FilterClause[], from: number, to: number): AsyncGenerator<Postings> {
    if (from > to) return;
    const cursors = clauses.map((clause) => new ClauseCursor(this.#kv, clause));
    try {
      const last = segmentOf(to);
      for (let segment = segmentOf(from); segment <= last; segment += 1) {
        const reached = await Promise.all(cursors.map((cursor) => cursor.advanceTo(segment)));
        segment = Math.min(...reached);
        if (segment > last) return;
        const here = cursors
          .filter((_, index) => reached[index] === segment)
          .flatMap((cursor) => cursor.matches(segment));
        const positions = [...new Set(here)].filter((position) => position >= from && position <= to);
        if (positions.length > 0) yield positions.sort((left, right) => left - right);
      }
    } finally {
      for (const cursor of cursors) cursor.close();
    }
  }

  /** The same, descending. */
  async *backwards(clauses: readonly FilterClause[], from: number, to: number): AsyncGenerator<Postings> {
    let segments = windowSegmentsMin;
    for (let upper = to; upper >= from; ) {
      const lower = Math.max(from, (segmentOf(upper) - segments + 1) * indexSegmentSize + 1);
      const lists: Postings[] = [];
      for await (const positions of this.forwards(clauses, lower, upper)) lists.push(positions);
      for (const positions of lists.reverse()) yield positions.toReversed();
      upper = lower - 1;
      segments = Math.min(windowSegmentsMax, segments * 2);
    }
  }

  /** The first position from `from` to `to` that matches. */
  async first(clauses: readonly FilterClause[], from: number, to: number): Promise<number | undefined> {
    for await (const positions of this.forwards(clauses, from, to)) return positions[0];
    return undefined;
  }
}
