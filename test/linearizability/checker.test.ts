/** The checker of histories itself: which it must accept, and which it must not. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { findUnsteadyReader } from "../support/linearizability.ts";
import { seededRandom } from "../support/random.ts";
import {
  checkStream,
  StreamHistory,
  type StreamInput,
  type StreamOperation,
  type StreamOutput,
} from "../support/stream-history.ts";

setDefaultTimeout(60_000);

type ExpectedVersion = (StreamInput & { kind: "append" })["expectedVersion"];

/** From `invokedAt` to `at`; without an output the answer is unknown. */
function call(invokedAt: number, at: number, input: StreamInput, output?: StreamOutput): StreamOperation {
  return { caller: "c", input, invokedAt, answer: output === undefined ? undefined : { output, at } };
}

const append = (id: string, expectedVersion: ExpectedVersion = "any"): StreamInput => ({
  kind: "append",
  ids: [id],
  expectedVersion,
});
const appended = (streamVersion: number): StreamOutput => ({ kind: "appended", streamVersion });
const conflict = (actualVersion: number): StreamOutput => ({ kind: "conflict", actualVersion });
const read: StreamInput = { kind: "read" };
const events = (...ids: readonly string[]): StreamOutput => ({ kind: "events", ids });

function isLinearizable(...history: readonly StreamOperation[]): boolean {
  return checkStream(history).linearizable;
}

describe("A history is linearizable where", () => {
  test("it is empty, or its calls came one after another", () => {
    expect(isLinearizable()).toBe(true);
    expect(
      isLinearizable(
        call(1, 2, append("a", "no-stream"), appended(1)),
        call(3, 4, read, events("a")),
        call(5, 6, append("b", 0), conflict(1)),
        call(7, 8, append("b", 1), appended(2)),
        call(9, 10, read, events("a", "b")),
      ),
    ).toBe(true);
  });

  test("concurrent calls fit in one of their orders only", () => {
    expect(
      isLinearizable(
        call(1, 10, append("a"), appended(2)),
        call(2, 9, append("b"), appended(1)),
        call(3, 8, read, events("b")),
        call(4, 7, read, events()),
      ),
    ).toBe(true);
  });

  test("an unknown append took effect late, or never", () => {
    const unknown = call(1, 0, append("a", "no-stream"));
    expect(isLinearizable(unknown, call(2, 3, read, events()), call(4, 5, read, events("a")))).toBe(true);
    expect(
      isLinearizable(unknown, call(2, 3, append("b", "no-stream"), appended(1)), call(4, 5, read, events("b"))),
    ).toBe(true);
  });

  test("a repeated append is answered with its first result", () => {
    expect(
      isLinearizable(
        call(1, 0, append("a")),
        call(2, 3, append("b"), appended(2)),
        call(4, 5, append("a"), appended(1)),
        call(6, 7, read, events("a", "b")),
      ),
    ).toBe(true);
  });
});

describe("A history is not linearizable where", () => {
  const rejected: Readonly<Record<string, readonly StreamOperation[]>> = {
    "a read misses what was acknowledged before it": [call(1, 2, append("a"), appended(1)), call(3, 4, read, events())],
    "a read goes back behind an earlier one": [
      call(1, 10, append("a"), appended(1)),
      call(2, 3, read, events("a")),
      call(4, 5, read, events()),
    ],
    "an acknowledged append is lost": [call(1, 2, append("a"), appended(1)), call(3, 4, append("b"), appended(1))],
    "an append is there twice": [
      call(1, 0, append("a")),
      call(2, 3, read, events("a")),
      call(4, 5, append("b"), appended(2)),
      call(6, 7, read, events("a", "b", "a")),
    ],
    "two appends that expect the same version both succeed": [
      call(1, 4, append("a", "no-stream"), appended(1)),
      call(2, 3, append("b", "no-stream"), appended(1)),
    ],
    "an append conflicts with nothing": [call(1, 2, append("a"), appended(1)), call(3, 4, append("b", 1), conflict(1))],
    "a conflict tells a version that there never was": [
      call(1, 2, append("a"), appended(1)),
      call(3, 4, append("b", 5), conflict(2)),
    ],
    "something is read that nobody appended, as after a not-applied": [call(1, 2, read, events("x"))],
    "an unknown append takes effect before it was called": [call(1, 2, read, events("a")), call(3, 0, append("a"))],
    "two readers see concurrent appends in different orders": [
      call(1, 10, append("a"), appended(2)),
      call(2, 9, append("b"), appended(1)),
      call(3, 4, read, events("a")),
      call(5, 6, read, events("b")),
    ],
    "a repeated append is stored again": [call(1, 2, append("a"), appended(1)), call(3, 4, append("a"), appended(2))],
    "an unknown append that does not fit its expectation is there all the same": [
      call(1, 2, append("a"), appended(1)),
      call(3, 0, append("b", "no-stream")),
      call(4, 5, read, events("a", "b")),
    ],
  };
  for (const [name, history] of Object.entries(rejected)) {
    test(name, () => {
      expect(isLinearizable(...history)).toBe(false);
    });
  }
});

/** A history by callers of a stream that really is sequential, each call taking effect somewhere between its ends. */
function generated(seed: number, calls: number, callers: number): StreamOperation[] {
  const random = seededRandom(seed);
  let state: readonly string[] = [];
  let now = 0;
  const history: StreamOperation[] = [];
  const busy = new Map<number, { operation: StreamOperation; output: StreamOutput | undefined; done: boolean }>();
  const takeEffect = (caller: number): void => {
    const entry = busy.get(caller);
    if (entry === undefined || entry.done) return;
    entry.done = true;
    const { input } = entry.operation;
    if (input.kind === "read") entry.output = events(...state);
    else if (typeof input.expectedVersion === "number" && input.expectedVersion !== state.length) {
      entry.output = conflict(state.length);
    } else {
      state = [...state, ...input.ids];
      entry.output = appended(state.length);
    }
  };
  for (let begun = 0; begun < calls || busy.size > 0; now += 1) {
    const caller = Math.floor(random() * callers);
    const entry = busy.get(caller);
    if (entry === undefined) {
      if (begun >= calls) continue;
      begun += 1;
      const version = random() < 0.5 ? "any" : state.length;
      const input = random() < 0.4 ? read : append(`e${begun}`, version);
      busy.set(caller, { operation: call(now, 0, input), output: undefined, done: false });
    } else if (!entry.done && random() < 0.7) takeEffect(caller);
    else {
      // One in ten is never answered, and may or may not have taken effect.
      const { operation, output, done } = entry;
      if (!done && random() < 0.5) continue;
      busy.delete(caller);
      const lost = !done || (operation.input.kind === "append" && random() < 0.1);
      if (!lost && output !== undefined) history.push({ ...operation, answer: { output, at: now } });
      else if (operation.input.kind === "append") history.push(operation);
    }
  }
  history.push(call(now, now + 1, read, events(...state)));
  return history;
}

test("Two hundred generated histories are accepted, and none of them once an answer in it is made wrong", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const history = generated(seed, 60, 6);
    expect([seed, isLinearizable(...history)]).toEqual([seed, true]);
    const answered = history.filter((one) => one.answer?.output.kind === "appended");
    const wrong = answered[seed % answered.length];
    const broken = history.map((one) => {
      if (one !== wrong || one.answer?.output.kind !== "appended") return one;
      return { ...one, answer: { ...one.answer, output: appended(one.answer.output.streamVersion + 1) } };
    });
    expect([seed, isLinearizable(...broken)]).toEqual([seed, false]);
  }
});

test("A history that does not hold is shown whole, with what could not come next", () => {
  const history = new StreamHistory();
  history.invoke("ann", "s-1", append("a")).answered(appended(1));
  history.invoke("ben", "s-1", append("b")).notApplied();
  history.invoke("cid", "s-1", read).answered(events("a", "b"));
  expect(() => history.check()).toThrow(
    /s-1 is not linearizable[\s\S]*model has 1 events: a\n[\s\S]*cid: read -> [\s\S]*ann: append a/,
  );
});

test("A reader may lag, but not go back, and not see what is not there", () => {
  const whole = ["a", "b", "c"];
  expect(findUnsteadyReader(whole, new Map([["r", [[], ["a"], ["a"], ["a", "b", "c"]]]]))).toBeUndefined();
  expect(findUnsteadyReader(whole, new Map([["r", [["a", "b"], ["a"]]]]))).toContain("goes back from 2 to 1");
  expect(findUnsteadyReader(whole, new Map([["r", [["a", "c"]]]]))).toContain("has c where b is");
  expect(findUnsteadyReader(whole, new Map([["r", [["a", "b", "c", "d"]]]]))).toContain("has d where undefined is");
});
