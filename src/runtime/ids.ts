/** The only door to randomness: ids in the order of their making. */

/** What makes the ids of events that come without one; they must never repeat. */
export interface IdSource {
  /** A UUID v7 (RFC 9562): 48 bits of milliseconds, then a counter and randomness. */
  next(): string;
}

export const systemIds: IdSource = {
  next: () => Bun.randomUUIDv7(),
};
