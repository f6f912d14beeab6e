/**
 * The sequential model of one stream, a list of event ids, and the recording of what concurrent callers of a store did to it
 * and were told. `linearizability.ts` says whether the two agree.
 */

import type { ExpectedVersion } from "../../src/index.ts";
import { checkLinearizable, type Operation, type SequentialModel, type Verdict } from "./linearizability.ts";

export type StreamInput =
  | { readonly kind: "append"; readonly ids: readonly string[]; readonly expectedVersion: ExpectedVersion }
  | { readonly kind: "read" };

export type StreamOutput =
  | { readonly kind: "appended"; readonly streamVersion: number }
  | { readonly kind: "conflict"; readonly actualVersion: number }
  | { readonly kind: "events"; readonly ids: readonly string[] };

export type StreamOperation = Operation<StreamInput, StreamOutput>;

type Append = StreamInput & { kind: "append" };

/** The rule as the README tells it; not the store's own code, which is what is checked. */
function isAsExpected(expected: ExpectedVersion, version: number): boolean {
  if (expected === "any") return true;
  if (expected === "stream-exists") return version > 0;
  return version === (expected === "no-stream" ? 0 : expected);
}

function appendTo(
  ids: readonly string[],
  input: Append,
  output: StreamOutput | undefined,
): readonly string[] | undefined {
  const [first = ""] = input.ids;
  const known = ids.indexOf(first);
  const fits = known < 0 && isAsExpected(input.expectedVersion, ids.length);
  if (output === undefined) return fits ? [...ids, ...input.ids] : undefined;
  if (output.kind === "conflict") return known < 0 && !fits && output.actualVersion === ids.length ? ids : undefined;
  if (output.kind !== "appended") return undefined;
  // A repeated append is answered with its first result.
  if (known >= 0) return output.streamVersion === known + input.ids.length ? ids : undefined;
  return fits && output.streamVersion === ids.length + input.ids.length ? [...ids, ...input.ids] : undefined;
}

/** Ids are given by the callers and never used for two different appends. */
export const streamModel: SequentialModel<readonly string[], StreamInput, StreamOutput> = {
  initial: [],
  step: (ids, input, output) => {
    if (input.kind === "append") return appendTo(ids, input, output);
    if (output?.kind !== "events" || output.ids.length !== ids.length) return undefined;
    return output.ids.every((id, index) => id === ids[index]) ? ids : undefined;
  },
  keyOf: (ids) => ids.join(" "),
};

/** What the last call read, if it is a read that began after everything else was answered. */
function lastRead(operations: readonly StreamOperation[]): readonly string[] | undefined {
  const last = operations.toSorted((left, right) => left.invokedAt - right.invokedAt).at(-1);
  if (last?.answer?.output.kind !== "events") return undefined;
  const { invokedAt } = last;
  const isLast = operations.every((one) => one === last || one.answer === undefined || one.answer.at < invokedAt);
  return isLast ? last.answer.output.ids : undefined;
}

/**
 * Whether the calls of one stream are linearizable. Where they end with a read of it all, each state before must be a
 * beginning of that, and an append of which nothing is there never took effect: that keeps the search short.
 */
export function checkStream(operations: readonly StreamOperation[]): Verdict<StreamInput, StreamOutput> {
  const whole = lastRead(operations);
  if (whole === undefined) return checkLinearizable(streamModel, operations);
  const there = new Set(whole);
  const relevant = operations.filter(
    ({ input, answer }) => answer !== undefined || (input.kind === "append" && input.ids.some((id) => there.has(id))),
  );
  const model: typeof streamModel = {
    ...streamModel,
    step: (ids, input, output) => {
      const after = streamModel.step(ids, input, output);
      const added = after?.slice(ids.length) ?? [];
      return added.every((id, index) => id === whole[ids.length + index]) ? after : undefined;
    },
  };
  return checkLinearizable(model, relevant);
}

/** A call under way; told once how it ended, or never. */
export interface Recording {
  answered(output: StreamOutput): void;
  /** It is certain that nothing of it was or will be applied: as if it had not been called. */
  notApplied(): void;
}

interface Recorded {
  readonly streamName: string;
  readonly caller: string;
  readonly input: StreamInput;
  readonly invokedAt: number;
  answer: { readonly output: StreamOutput; readonly at: number } | undefined;
  dropped: boolean;
}

/** Its clock counts invocations and answers, which in one thread is their order in time. */
export class StreamHistory {
  readonly #recorded: Recorded[] = [];
  #now = 0;

  get now(): number {
    this.#now += 1;
    return this.#now;
  }

  get length(): number {
    return this.#recorded.length;
  }

  invoke(caller: string, streamName: string, input: StreamInput): Recording {
    const recorded: Recorded = { streamName, caller, input, invokedAt: this.now, answer: undefined, dropped: false };
    this.#recorded.push(recorded);
    return {
      answered: (output) => {
        recorded.answer = { output, at: this.now };
      },
      notApplied: () => {
        recorded.dropped = true;
      },
    };
  }

  /** The calls of each stream. Reads that were not answered say nothing and are left out. */
  streams(): ReadonlyMap<string, readonly StreamOperation[]> {
    const streams = new Map<string, StreamOperation[]>();
    for (const { streamName, dropped, ...operation } of this.#recorded) {
      if (dropped || (operation.input.kind === "read" && operation.answer === undefined)) continue;
      const operations = streams.get(streamName) ?? [];
      operations.push(operation);
      streams.set(streamName, operations);
    }
    return streams;
  }

  /** Throws where no order of the calls explains what a stream's callers were told; the message has all that was recorded. */
  check(): void {
    for (const [streamName, operations] of this.streams()) {
      const verdict = checkStream(operations);
      if (verdict.linearizable) continue;
      const state = verdict.longest.reduce<readonly string[]>(
        (ids, { input, answer }) => streamModel.step(ids, input, answer?.output) ?? ids,
        streamModel.initial,
      );
      const lines = [
        `${streamName} is not linearizable; of ${operations.length} calls at most ${verdict.longest.length} fit together.`,
        `Then the model has ${state.length} events: ${state.join(" ")}`,
        "None of these could come next:",
        ...verdict.stuck.map(lineOf),
        "The history:",
        ...operations.map(lineOf),
      ];
      throw new Error(lines.join("\n"));
    }
  }
}

function lineOf({ caller, input, invokedAt, answer }: StreamOperation): string {
  const asked = input.kind === "read" ? "read" : `append ${input.ids.join(" ")} at ${input.expectedVersion}`;
  const told = answer === undefined ? "unknown" : `${JSON.stringify(answer.output)} at ${answer.at}`;
  return `  ${invokedAt} ${caller}: ${asked} -> ${told}`;
}
