/** What "as of then" means: a position that is found once and stays, so that a frozen view does not move. */

import { InvalidArgumentError, printable } from "../errors.ts";
import type { LogEnd } from "../format/records.ts";
import type { StoreReader } from "../log/store-reader.ts";

/**
 * The position at which a view of `when`, a time of recording or a position, stays frozen; `log` says where the log ends
 * now. Throws `invalid-argument` for what is neither.
 */
export function frozenAt(when: unknown, reader: StoreReader, log: { readonly end: LogEnd }): () => Promise<number> {
  const { lastPosition } = log.end;
  if (when instanceof Date && !Number.isNaN(when.getTime())) {
    // Looked up once, so that the view stays where it is; the caller's Date may change.
    const timeMs = when.getTime();
    let position: number | undefined;
    return async () => {
      position ??= Math.min(await reader.positionAt(timeMs), lastPosition);
      return position;
    };
  }
  if (typeof when === "number" && Number.isSafeInteger(when) && when >= 0) {
    const position = Math.min(when, lastPosition);
    return async () => position;
  }
  throw new InvalidArgumentError("when", `must be a valid Date or a position from 0, not ${printable(when)}`);
}
