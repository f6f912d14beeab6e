/** Loaded before the tests: several of them start processes, so the runner's five seconds are too few. */

import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(60_000);
