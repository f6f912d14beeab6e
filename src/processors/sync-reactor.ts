/**
 * A reactor between a commit and its caller: asked when the commit is durable, awaited before `append` resolves. What it fails
 * at is told to `onError` and to `store.processors()`, and changes nothing about the commit. It keeps no checkpoint: after a
 * crash it is not asked again.
 */

import { InternalError } from "../errors.ts";
import { pause } from "../runtime/deadline.ts";
import type { RecordedEvent } from "../vocabulary/event.ts";
import { matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { AnyReactor } from "./define-reactor.ts";
import { checkKnownEvents, type ProcessorHost } from "./definition.ts";
import type { Processor } from "./processor.ts";
import { react } from "./reaction.ts";
import { delayAfter } from "./retries.ts";
import { HandlingFailure, type ProcessorError } from "./worker.ts";

/** The processor of a reactor whose mode is `"sync"`. */
export function syncReactor(reactor: AnyReactor, { core }: ProcessorHost): Processor {
  const { name, version, filter, retries } = reactor;
  checkKnownEvents(core, name, reactor.events);
  const closing = new AbortController();
  let lastError: ProcessorError | undefined;
  const handle = async (event: RecordedEvent): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await react(reactor, event, attempt, closing.signal);
        lastError = undefined;
        return;
      } catch (cause) {
        const error = new HandlingFailure(name, event, cause);
        const at = new Date(core.clock.now());
        lastError = { message: error.message, at, position: event.position, attempts: attempt, cause };
        if (attempt >= retries.attempts || closing.signal.aborted) return core.warn(error);
        await pause(delayAfter(attempt, retries, core.random), closing.signal);
      }
    }
  };
  core.addAfterCommit((events) => {
    let concerned: readonly RecordedEvent[];
    try {
      concerned = events().filter(({ type, streamName, tags }) =>
        matches(filter, { type, category: categoryOf(streamName), tags }),
      );
    } catch (error) {
      core.warn(error);
      return undefined;
    }
    if (concerned.length === 0) return undefined;
    return (async () => {
      for (const event of concerned) await handle(event);
    })();
  });
  core.onClose(() => closing.abort());
  const nothing = async (): Promise<never> => {
    throw new InternalError("A sync reactor was given a batch");
  };
  return {
    name,
    kind: "reactor",
    version,
    filter,
    passive: { position: () => core.lastPosition(), lastError: () => lastError },
    loadCheckpoint: nothing,
    handle: nothing,
  };
}
