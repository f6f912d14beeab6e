/** What "as of then" means: a position that is found once and stays, so that a frozen view does not move. */

import type { LogEnd } from "../format/records.ts";
import type { StoreReader } from "../log/store-reader.ts";
import type { CheckedMoment } from "../vocabulary/moment.ts";

/** The position at which a view of a moment stays frozen; `log` says where the log ends now. */
export function frozenAt(
  { position, recordedAtMs }: CheckedMoment,
  reader: StoreReader,
  log: { readonly end: LogEnd },
): () => Promise<number> {
  const { lastPosition } = log.end;
  if (recordedAtMs === undefined) {
    const frozen = Math.min(position ?? lastPosition, lastPosition);
    return async () => frozen;
  }
  // Looked up once, so that the view stays where it is.
  let found: number | undefined;
  return async () => {
    found ??= Math.min(await reader.positionAt(recordedAtMs), lastPosition);
    return found;
  };
}
