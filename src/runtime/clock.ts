/** The only door to time. Tests turn their own clock. */

/** What a store asks for the time. */
export interface Clock {
  /** Milliseconds since 1970, as the machine's wall clock has it. */
  now(): number;
  /** Milliseconds that never go back; only differences mean anything. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
