/** What `strata/testing` offers: tests of deciders, projections and process managers, a store for tests, and the suite for adapters of a byte store. */

export {
  type Expectation,
  type Given,
  type GivenEvents,
  type Outcome,
  specify,
} from "./decider-specification.ts";
export { type ConformanceRunner, type KvCapabilities, type KvPlace, testKeyValueStore } from "./kv-conformance.ts";
export {
  type AskedFor,
  type GivenProcess,
  type ProcessExpectation,
  type ProcessOccurrence,
  type ProcessOutcome,
  specifyProcessManager,
} from "./process-specification.ts";
export { type ProjectedDocuments, specifyProjection } from "./projection-specification.ts";
export type { SpecifiedEvent } from "./recorded-events.ts";
export type { TestClock } from "./test-doubles.ts";
export { openTestStore, type TestStore, type TestStoreOptions } from "./test-store.ts";
