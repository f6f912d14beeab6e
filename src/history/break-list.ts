/** The breaks that verifying has found: in the order of their positions, up to a bound, and how many there were. */

import type { VerifyBreak } from "../vocabulary/verification.ts";

/** The most breaks that a report names. */
export const breaksMax = 100;
/** The most that are kept while it is not known yet which come first. */
const breaksKept = 2_000;

export class BreakList {
  #breaks: VerifyBreak[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(found: VerifyBreak): void {
    this.#count += 1;
    if (this.#breaks.length < breaksKept) this.#breaks.push(found);
  }

  /** Whether the log has no event there that could be read. */
  hasLost(position: number): boolean {
    return this.#breaks.some(
      (one) =>
        (one.kind === "missing" || (one.kind === "unreadable" && one.streamName === undefined)) && isAt(one, position),
    );
  }

  /** Whether it was told that this stream cannot be read. */
  hasUnreadable(streamName: string): boolean {
    return this.#breaks.some((one) => one.kind === "unreadable" && one.streamName === streamName);
  }

  /** Whether the events around there do not lead to the link behind them. */
  chainBreaksAt(position: number): boolean {
    return this.#breaks.some((one) => one.kind === "chain" && isAt(one, position));
  }

  /** The breaks, the first position first; a piece of the log that does not lead to its link comes behind what is exact in it. */
  finish(): { readonly breaks: readonly VerifyBreak[]; readonly breakCount: number } {
    const exact = this.#breaks.filter(({ kind }) => kind !== "chain");
    const place = (one: VerifyBreak): number => {
      const { kind, fromPosition = Number.MAX_SAFE_INTEGER, toPosition = fromPosition } = one;
      if (kind !== "chain") return fromPosition;
      const last = exact.findLast((other) => isAt(one, other.fromPosition ?? 0));
      return last === undefined ? fromPosition : toPosition + 0.5;
    };
    const breaks = this.#breaks
      .map((one) => ({ one, place: place(one) }))
      .sort((left, right) => left.place - right.place)
      .slice(0, breaksMax)
      .map(({ one }) => one);
    return { breaks, breakCount: this.#count };
  }
}

function isAt({ fromPosition, toPosition }: VerifyBreak, position: number): boolean {
  return fromPosition !== undefined && toPosition !== undefined && fromPosition <= position && position <= toPosition;
}
