/**
 * A reader's part in forgetting: it sees the receipts that the writer leaves in the log, destroys the keys that it has in memory, and
 * forgets what was decoded by them. Where it may have missed a receipt, because it fell behind by too much, it looks for every key in
 * storage again before it uses it.
 */

import { decodeEvent } from "../format/envelope.ts";
import type { Erasures } from "../log/erasures.ts";
import type { RecentLog } from "../log/recent-log.ts";
import { checkFilter } from "../vocabulary/filter.ts";
import { forgottenType, type SubjectForgotten } from "../vocabulary/forgotten.ts";
import type { SubjectKeys } from "./subject-keys.ts";

const receipts = checkFilter({ types: [forgottenType] });

export class ForgottenElsewhere {
  readonly #recent: RecentLog;
  readonly #keys: SubjectKeys;
  readonly #erasures: Erasures;
  #seenTo: number;

  /** `erasures`: told where something was forgotten, so that what was decoded is dropped. */
  constructor(recent: RecentLog, keys: SubjectKeys, erasures: Erasures) {
    this.#recent = recent;
    this.#keys = keys;
    this.#erasures = erasures;
    this.#seenTo = recent.lastPosition;
    keys.whenFoundDestroyed(() => erasures.note());
  }

  /** The log ends at `position` now. */
  advance(position: number): void {
    const from = Math.max(this.#seenTo, this.#recent.firstPosition - 1);
    let isMissed = from > this.#seenTo;
    this.#seenTo = position;
    if (receipts === undefined) return;
    const found = this.#recent.matching(receipts, from, position);
    for (const at of found) {
      const stored = this.#recent.find(at)?.stored;
      if (stored === undefined) {
        // It is known that there is one; what it says is in memory no more.
        isMissed = true;
        continue;
      }
      const { keys, forgottenAt } = decodeEvent(stored).data as SubjectForgotten;
      this.#keys.expire(keys, Date.parse(forgottenAt));
    }
    if (isMissed) this.#keys.doubt();
    if (isMissed || found.length > 0) this.#erasures.note();
  }
}
