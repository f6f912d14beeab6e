/** The public face of a store: the log, and what the layers above it add. Pure types. */

import type { DecisionMaker, StateReader } from "../decider/face.ts";
import type { LifecycleFace } from "../lifecycle/face.ts";
import type { EventLog, EventReader } from "../log/event-store.ts";
import type { ProcessorFace } from "../processors/face.ts";
import type { EventDefinitions } from "../schema/define-events.ts";
import type { ProvenLog } from "../vocabulary/verification.ts";

/** A store as it was at a moment: its events, and states folded from them. */
export interface EventStoreView<Definitions extends EventDefinitions = never>
  extends EventReader<Definitions>,
    StateReader<Definitions> {}

/**
 * An open store: its one writer, and reads beside it. Close it, or declare it with `await using`; what is acknowledged is
 * durable whether or not it is closed.
 */
export interface EventStore<Definitions extends EventDefinitions = never>
  extends EventLog<Definitions>,
    DecisionMaker<Definitions>,
    ProcessorFace<Definitions>,
    LifecycleFace,
    ProvenLog {
  /** The same reads, frozen at a position or at a time of recording. */
  asOf(when: Date | number): EventStoreView<Definitions>;
}
