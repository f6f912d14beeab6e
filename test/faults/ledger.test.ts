/** The ledger that the fault tests judge by: it accepts a log that keeps what was promised, and no other. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Fate, Ledger, type LoggedEvent } from "../support/ledger.ts";

setDefaultTimeout(60_000);

function event(id: string, streamName: string, version: number, position: number): LoggedEvent {
  return { id, streamName, version, position };
}

/** One commit of two events to one stream and of one to another, and one of a single event. */
function ledgerOf(first: Fate, second: Fate): Ledger {
  const ledger = new Ledger();
  const one = ledger.begin([
    { streamName: "a", ids: ["1", "2"] },
    { streamName: "b", ids: ["3"] },
  ]);
  const two = ledger.begin([{ streamName: "a", ids: ["4"] }]);
  Object.assign(one, { fate: first, position: 3, versions: [2, 1] });
  Object.assign(two, { fate: second, position: 4, versions: [3] });
  return ledger;
}

const whole = [event("1", "a", 1, 1), event("2", "a", 2, 2), event("3", "b", 1, 3), event("4", "a", 3, 4)];

describe("A ledger accepts", () => {
  test("what was acknowledged, once and in its place", () => {
    ledgerOf("acknowledged", "acknowledged").check(whole);
  });

  test("what is unknown, whether it is there or not", () => {
    ledgerOf("acknowledged", "unknown").check(whole);
    ledgerOf("acknowledged", "unknown").check(whole.slice(0, 3));
    ledgerOf("unknown", "not-applied").check([]);
  });
});

describe("A ledger refuses", () => {
  const refused: Readonly<Record<string, readonly [Fate, Fate, readonly LoggedEvent[]]>> = {
    "an acknowledged commit that is lost": ["acknowledged", "acknowledged", whole.slice(0, 3)],
    "a commit that is there in part": ["unknown", "not-applied", whole.slice(0, 2)],
    "what was not applied and is there": ["acknowledged", "not-applied", whole],
    "an event that is there twice": ["acknowledged", "acknowledged", [...whole, event("4", "a", 4, 5)]],
    "an event that nobody appended": ["acknowledged", "acknowledged", [...whole, event("x", "a", 4, 5)]],
    "a hole in the positions": ["acknowledged", "unknown", [...whole.slice(0, 3), event("4", "a", 3, 5)]],
    "a hole in the versions": ["acknowledged", "unknown", [...whole.slice(0, 3), event("4", "a", 4, 4)]],
    "an acknowledged event at another place": [
      "unknown",
      "acknowledged",
      [event("4", "a", 1, 1), event("1", "a", 2, 2), event("2", "a", 3, 3), event("3", "b", 1, 4)],
    ],
  };
  for (const [name, [first, second, log]] of Object.entries(refused)) {
    test(name, () => {
      expect(() => ledgerOf(first, second).check(log)).toThrow();
    });
  }
});
