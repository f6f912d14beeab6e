/** A store in memory for tests: a clock that stands still, ids that count, and a restart at the call of a function. */

import { createMemoryStorage, openMemoryKv } from "../kv/memory-kv.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { EventStore } from "../store/event-store.ts";
import { openEventStoreOn } from "../store/open-event-store.ts";
import type { OpenOptions } from "../store/open-options.ts";
import { countedIds, type TestClock, testClock } from "./test-doubles.ts";

/** When a test store's clock starts, unless told otherwise. */
const startDefault = "2026-01-01T00:00:00.000Z";

/** Options of a store, but for where it lives and what the test has in hand. */
export interface TestStoreOptions<Definitions extends EventDefinitions = never>
  extends Omit<OpenOptions<Definitions>, "url" | "s3" | "clock" | "ids"> {
  /** What the clock shows at first. Default: 2026-01-01T00:00:00Z. */
  readonly now?: Date;
}

/** A store in memory, and what a test turns on it. */
export interface TestStore<Definitions extends EventDefinitions = never> extends AsyncDisposable {
  /** The store as it is open now. */
  readonly store: EventStore<Definitions>;
  readonly clock: TestClock;
  /** Closes the store and opens it again on what it has written: everything that was only in memory is gone. */
  reopen(): Promise<EventStore<Definitions>>;
}

/** Opens a store in memory whose times and ids are the same in every run. Throws as `openEventStore`. */
export async function openTestStore<const Definitions extends EventDefinitions = never>(
  options: TestStoreOptions<Definitions> = {},
): Promise<TestStore<Definitions>> {
  const { now, ...rest } = options;
  const storage = createMemoryStorage();
  const clock = testClock(now ?? new Date(startDefault));
  const ids = countedIds();
  const open = (): Promise<EventStore<Definitions>> =>
    openEventStoreOn<Definitions>(openMemoryKv(storage), { ...rest, clock, ids });
  let store = await open();
  return {
    get store() {
      return store;
    },
    clock,
    reopen: async () => {
      await store.close();
      store = await open();
      return store;
    },
    [Symbol.asyncDispose]: async () => await store.close(),
  };
}
