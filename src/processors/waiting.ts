/** Waiting for what somebody else will see come true: among others who wait, and no longer than asked. */

/** Ends a wait; with an error it fails. */
export type Settle = (error?: unknown) => void;

export interface WaitLimits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** What the wait fails with when the time is over. */
  readonly late: () => unknown;
}

/** Stands among `waiting`, as `make` describes it, until it is settled; it fails when the time is over, or with the signal's reason. */
export function waitAmong<Waiting>(
  waiting: Set<Waiting>,
  make: (settle: Settle) => Waiting,
  { timeoutMs, signal, late }: WaitLimits,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle: Settle = (error) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      waiting.delete(one);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => settle(signal?.reason);
    const timer = setTimeout(() => settle(late()), timeoutMs);
    const one = make(settle);
    signal?.addEventListener("abort", onAbort, { once: true });
    waiting.add(one);
  });
}
