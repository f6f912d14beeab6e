/** What caused the code that runs now: handlers of events run inside it, so that what they append says where it came from. */

import { AsyncLocalStorage } from "node:async_hooks";

export interface Cause {
  readonly correlationId: string;
  readonly causationId: string;
  readonly actor?: string;
}

const causes = new AsyncLocalStorage<Cause>();

export function currentCause(): Cause | undefined {
  return causes.getStore();
}

/** Runs `work`, and all that it starts, as caused by an event. */
export function causedBy<T>(cause: Cause, work: () => T): T {
  return causes.run(cause, work);
}
