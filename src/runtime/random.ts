/** Chance, for jitter and nothing else. Tests bring their own. */

/** What a store asks for chance. */
export interface Random {
  /** A number from 0, inclusive, to 1, exclusive. */
  next(): number;
}

export const systemRandom: Random = {
  next: () => Math.random(),
};
