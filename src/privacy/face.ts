/** What a store offers for personal data, as its users see it. Pure types. */

import type { EventMetadata } from "../vocabulary/event.ts";

/** What may be said beside a subject. */
export interface ForgetOptions {
  /** Put into the receipt, and kept: who asked, and why. It must not name the subject. */
  readonly metadata?: EventMetadata;
}

/** What forgetting has come to. All of it is durable. */
export interface ForgetReceipt {
  /** The subject's hash, as in `event.personal.subject`. */
  readonly subject: string;
  readonly forgottenAt: Date;
  /** The position of the receipt, a `$SubjectForgotten` event. */
  readonly position: number;
  /** How many keys the subject has ever had, all of which are destroyed. */
  readonly keys: number;
  /** How many events read as `null` now, and in how many streams. */
  readonly events: number;
  readonly streams: number;
  /** How many snapshots were removed, and documents changed or deleted. */
  readonly snapshots: number;
  readonly documents: number;
  /**
   * Processors that the store has known and that did not run here: what they have made of the data is as it was. Forget the
   * subject where they run, or rebuild them.
   */
  readonly unreached: readonly string[];
  /** Whether the subject was forgotten before, and this is the receipt of that; `documents` and `unreached` are of now. */
  readonly replayed: boolean;
}

/** What a rotation has come to. */
export interface RotationReport {
  /** The master key that wraps everything now, but for `damaged`. */
  readonly masterKeyId: string;
  /** Keys that were wrapped anew, and those that were wrapped by it already. */
  readonly rewrapped: number;
  readonly unchanged: number;
  /** Key objects that could not be read, or whose keys could not be unwrapped: they are as they were. */
  readonly damaged: readonly string[];
}

/** Personal data at large. */
export interface PersonalDataFace {
  /**
   * Destroys the keys of a subject, so that its personal fields read as `null` from now on, everywhere and in every copy that
   * was made since; removes snapshots of its streams, and what projections declare as `personal`; leaves a `$SubjectForgotten` event.
   * Repeating it answers the first receipt. A subject that comes back gets a new key; what was forgotten stays so.
   *
   * Throws `invalid-argument` for a subject that the store has no personal data of, or a store opened without `encryption`;
   * `encryption-key`, `storage-corrupt` (a damaged key object), and as `commit`. Whatever it throws, repeat it: what is left is done
   * then, or when the store is next opened.
   */
  forget(subject: string, options?: ForgetOptions): Promise<ForgetReceipt>;
  /**
   * Wraps all keys anew that another master key than the current one has wrapped; subjects' own keys stay, so no event is written.
   * Reads and appends go on. It can be broken off and repeated: what is done is passed over. When `damaged` is empty the old master
   * key has no more use. Throws `encryption-key`, `storage-unavailable`, and `invalid-argument` without `encryption`.
   */
  rotateKeys(): Promise<RotationReport>;
}
