/** How long events are kept. Pure types. */

/** How long, and how many, events of a stream are kept; at least one of the two. */
export interface Retention {
  /** Events recorded longer ago are dropped. An integer from 1. */
  readonly maxAgeMs?: number;
  /** Only the newest so many of a stream are kept. An integer from 1. */
  readonly maxCount?: number;
}

/** A rule as it holds. */
export interface RetentionInfo extends Retention {
  readonly scope: "category" | "stream";
  /** Of the category, or of the stream. */
  readonly name: string;
  readonly setAt: Date;
}
