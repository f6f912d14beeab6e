/** The receipt of a forgotten subject, from the data of its event to what callers get. */

import type { SubjectForgotten } from "../vocabulary/forgotten.ts";
import type { ForgetReceipt } from "./face.ts";

export function receiptOf(data: SubjectForgotten, position: number, replayed: boolean): ForgetReceipt {
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
