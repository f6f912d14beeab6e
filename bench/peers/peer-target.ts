/** What the scenario `peers` drives: what every event store can do, and a count to check it by. */

import { openStrataTarget } from "../harness/strata-target.ts";
import type { Target } from "../harness/target.ts";

export interface PeerTarget extends Pick<Target, "appendNew" | "appendAt" | "readStream">, AsyncDisposable {
  /** How many events there are in all. */
  count(): Promise<number>;
}

export async function openStrataPeer(url: string): Promise<PeerTarget> {
  const target = await openStrataTarget(url);
  const { appendNew, appendAt, readStream, readAll } = target;
  return {
    appendNew,
    appendAt,
    readStream,
    count: readAll,
    [Symbol.asyncDispose]: () => target[Symbol.asyncDispose](),
  };
}
