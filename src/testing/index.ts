/** What `strata/testing` offers: tests of deciders, a store for tests, and the suite for adapters of a byte store. */

export {
  type Expectation,
  type Given,
  type GivenEvents,
  type Outcome,
  specify,
} from "./decider-specification.ts";
export { type ConformanceRunner, type KvCapabilities, type KvPlace, testKeyValueStore } from "./kv-conformance.ts";
export type { TestClock } from "./test-doubles.ts";
export { openTestStore, type TestStore, type TestStoreOptions } from "./test-store.ts";
