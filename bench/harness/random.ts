/** Numbers that look random and are the same in every run. */

export interface RandomNumbers {
  /** In [0, 1). */
  next(): number;
  /** An integer from 0 up to, not including, `below`. */
  below(below: number): number;
}

/** The generator known as mulberry32. */
export function seededRandom(seed: number): RandomNumbers {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return { next, below: (below) => Math.floor(next() * below) };
}
