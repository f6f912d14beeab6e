/** Timers: a deadline around a promise that cannot be cancelled, and a pause that can. */

/** The most milliseconds that a timer can hold; with more it would go off at once. */
export const millisecondsMax: number = 2 ** 31 - 1;

export class DeadlineExpired extends Error {
  override readonly name = "DeadlineExpired";
}

/**
 * Settles as `work` does, or rejects with `DeadlineExpired` after `timeoutMs`. The work itself goes on: what it does
 * after that is unknown to the caller, and its late rejection is swallowed.
 */
export function withDeadline<T>(work: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(new DeadlineExpired(`${what} took longer than ${timeoutMs} ms`)), timeoutMs);
    work.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

/** Resolves after `ms`, or at once when `signal` is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}
