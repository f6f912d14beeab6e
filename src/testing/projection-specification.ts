/** Given some events, then these documents: tests of a projection without a store and without a test runner. */

import type { Projection } from "../processors/define-projection.ts";
import { projectionOf } from "../processors/define-projection.ts";
import { absentDocument, DocumentOverlay } from "../processors/document-overlay.ts";
import { matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import { compareDeeply } from "./assertion.ts";
import { recorder, type SpecifiedEvent } from "./recorded-events.ts";

/** What is compared once the events were handled. */
export interface ProjectedDocuments<Document> {
  /** All documents by their keys. Throws an `AssertionError` where they are others. */
  then(documents: Readonly<Record<string, Document>>): void;
}

/** When events are recorded, unless told otherwise. */
const nowDefault = "2026-01-01T00:00:00.000Z";

/**
 * A projection's `given`: `given(events).then({ key: document })`. Events that its filter does not match are passed over.
 * Throws what the store would: `invalid-event` for the events, `invalid-document` and what handlers throw.
 */
export function specifyProjection<Document, Index extends string>(
  projection: Projection<Document, Index>,
  options: { readonly now?: Date } = {},
): (events: readonly SpecifiedEvent[]) => ProjectedDocuments<Document> {
  const known = projectionOf(projection);
  if (known === undefined) throw new TypeError("What is specified must be made by defineProjection(...)");
  const now = options.now ?? new Date(nowDefault);
  return (events) => {
    const { record } = recorder(known.events);
    const overlay = new DocumentOverlay(known, () => absentDocument);
    for (const event of events.flatMap((one) => record(one, now))) {
      const shape = { type: event.type, tags: event.tags, category: categoryOf(event.streamName) };
      if (matches(known.filter, shape)) overlay.apply(event);
    }
    const documents = Object.fromEntries(overlay.documents());
    return {
      // biome-ignore lint/suspicious/noThenProperty: given, when, then is how everybody writes it down.
      then: (expected) => compareDeeply("The documents are others", documents, expected),
    };
  };
}
