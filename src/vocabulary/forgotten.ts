/** What the log says of a forgotten subject. */

/** The type of the receipt's event, in the stream `$strata-lifecycle`. */
export const forgottenType = "$SubjectForgotten";

/** The data of a `$SubjectForgotten` event. It names nobody. */
export interface SubjectForgotten {
  /** The subject's hash, as in `event.personal.subject`. */
  readonly subject: string;
  /** The ids of all keys that the subject has had. */
  readonly keys: readonly string[];
  /** When, as RFC 3339 text. */
  readonly forgottenAt: string;
  /** How many events of how many streams are concerned. */
  readonly events: number;
  readonly streams: number;
  /** How many snapshots were removed, and documents changed or deleted. */
  readonly snapshots: number;
  readonly documents: number;
  /** Processors that the store has known and that did not run where the subject was forgotten. */
  readonly unreached: readonly string[];
}
