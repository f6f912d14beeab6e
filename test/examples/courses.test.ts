/** `examples/courses.ts` as people run it: two rules that no stream holds both of, and neither is broken. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { temporaryFolder } from "../support/backends.ts";
import { runExample } from "./run-example.ts";

setDefaultTimeout(60_000);

interface Course {
  readonly name: string;
  readonly taken: number;
  readonly capacity: number;
}

/** Each list of the courses that was told, in order. */
function rosters(told: string): readonly (readonly Course[])[] {
  const all = [...told.matchAll(/^ {2}(\w+) +(\d+) of (\d+) seats/gm)].map(([, name = "", taken, capacity]) => ({
    name,
    taken: Number(taken),
    capacity: Number(capacity),
  }));
  return [all.slice(0, 4), all.slice(4, 8), all.slice(8)];
}

describe("Course subscriptions", () => {
  test("exceed no capacity and no limit, whoever asks at once, and give away every seat", async () => {
    const told = await runExample("courses.ts");
    const [first = [], second = [], third = []] = rosters(told);
    expect(first.map((course) => course.capacity)).toEqual([12, 12, 12, 12]);
    // At most 12 of the 24 can have three other courses, so there are always 12 who may take the seats of a fourth.
    expect(first.map((course) => course.taken)).toEqual([12, 12, 12, 12]);
    for (const course of second) expect(course.taken).toBeLessThanOrEqual(12);
    expect(third.map((course) => course.capacity)).toEqual([12, 12, 12, 14]);
    for (const course of third) expect(course.taken).toBeLessThanOrEqual(course.capacity);
    for (const [, most] of told.matchAll(/none has more than (\d+) courses/g))
      expect(Number(most)).toBeLessThanOrEqual(3);
    expect(told).toMatch(/^ {3}48 {2}subscribed$/m);
    expect(told).toContain("course-is-full");
  });

  test("run again on the same folder", async () => {
    await using folder = await temporaryFolder();
    for (const _ of ["new", "again"]) {
      const told = await runExample("courses.ts", "--url", `file:${folder.path}`);
      expect(told).toContain("No course is over its capacity, and no student over the limit.");
    }
  });
});
