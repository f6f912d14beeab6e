/** How a processor is, put into words for those who look after it. */

import type { StoreCore } from "../log/store-internals.ts";
import type { ProcessorInfo, ProcessorState } from "./face.ts";
import type { Processor } from "./processor.ts";
import type { RebuildRun } from "./rebuild-run.ts";
import type { Worker } from "./worker.ts";

/** Without progress for so long, although there is something to do, a processor is called stuck. */
export const stuckAfterMs = 60_000;
/** So few events behind it is still called running. */
const runningLagEvents = 1_000;

export interface DescribedProcessor {
  readonly processor: Processor;
  readonly core: StoreCore;
  readonly main: Worker | undefined;
  readonly rebuild: RebuildRun | undefined;
  readonly position: number;
  readonly paused: boolean;
}

export function describeProcessor(described: DescribedProcessor): ProcessorInfo {
  const { processor, core, main, rebuild, position } = described;
  const { name, kind, version } = processor;
  const worker = main ?? rebuild?.worker;
  const error = worker?.error ?? processor.passive?.lastError?.();
  const state = stateOf(described);
  const lagEvents = Math.max(0, core.lastPosition() - position);
  const behindSinceMs = lagEvents === 0 ? undefined : worker?.behindSinceMs;
  const reason = reasonOf(described, state, lagEvents);
  return {
    name,
    kind,
    version,
    state,
    position,
    lagEvents,
    lagMs: behindSinceMs === undefined ? 0 : Math.max(0, core.clock.now() - behindSinceMs),
    lastProgressAt: worker?.lastProgressAt,
    lastError:
      error === undefined
        ? undefined
        : { message: error.message, at: error.at, position: error.position, attempts: error.attempts },
    parked: processor.parking?.count ?? 0,
    health: reason === undefined ? "ok" : state === "failed" ? "failed" : "stuck",
    reason,
    rebuild: rebuild?.progress(),
  };
}

function stateOf({ processor, core, main, rebuild, position, paused }: DescribedProcessor): ProcessorState {
  const worker = main ?? rebuild?.worker;
  if (worker?.failed === true || rebuild?.worker.failed === true) return "failed";
  if (paused && processor.passive === undefined) return "paused";
  const serves = main !== undefined || (processor.passive !== undefined && (processor.continues?.() ?? true));
  if (!serves) return "rebuilding";
  if (processor.passive !== undefined) return "running";
  return core.lastPosition() - position > runningLagEvents ? "catching-up" : "running";
}

function reasonOf({ main, rebuild }: DescribedProcessor, state: ProcessorState, lagEvents: number): string | undefined {
  const worker = main ?? rebuild?.worker;
  if (worker === undefined) return undefined;
  const message = worker.error?.message ?? rebuild?.worker.error?.message;
  if (state === "failed") return `It has failed for good: ${message ?? "nobody knows why"}`;
  if (state === "paused" || lagEvents === 0 || worker.noProgressForMs < stuckAfterMs) return undefined;
  const doing = `It has made no progress for ${Math.round(worker.noProgressForMs)} ms, and is ${worker.activity}`;
  return message === undefined ? doing : `${doing}: ${message}`;
}
