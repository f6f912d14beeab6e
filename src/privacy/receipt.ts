/** The receipt of a forgotten subject: the data of its event, and what callers get. */

import type { ForgetReceipt } from "./face.ts";

/** The type of the receipt's event, in the stream `$strata-lifecycle`. */
export const forgottenType = "$SubjectForgotten";

/** The data of the event. It names nobody. */
export interface ForgottenData {
  /** The subject's hash. */
  readonly subject: string;
  /** The ids of all keys that the subject has had. */
  readonly keys: readonly string[];
  readonly forgottenAt: string;
  readonly events: number;
  readonly streams: number;
  readonly snapshots: number;
  readonly documents: number;
  /** Processors that did not run where the subject was forgotten. */
  readonly unreached: readonly string[];
}

export function receiptOf(data: ForgottenData, position: number, replayed: boolean): ForgetReceipt {
  const { subject, keys, events, streams, snapshots, documents, unreached } = data;
  const forgottenAt = new Date(data.forgottenAt);
  return {
    subject,
    forgottenAt,
    position,
    keys: keys.length,
    events,
    streams,
    snapshots,
    documents,
    unreached,
    replayed,
  };
}
