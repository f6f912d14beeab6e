/** Strata as one peer among others. */

import { openStrataTarget } from "../harness/strata-target.ts";
import type { PeerTarget } from "./measure.ts";

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
