/** What `strata/testing` offers: the suite that every adapter of a byte store must pass, for any test runner. */

export { type ConformanceRunner, type KvCapabilities, type KvPlace, testKeyValueStore } from "./kv-conformance.ts";
