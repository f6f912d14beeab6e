#!/usr/bin/env bun
/**
 * Course subscriptions: `bun examples/courses.ts [--url memory:]`, or `file:DIR`.
 *
 * Two rules at once: a course has a capacity, and a student takes at most three courses. The first is about all students of
 * a course, the second about all courses of a student, so no stream holds both. What decides is a query by tags: the events
 * of this course or of this student. The commit is refused if one more of them has appeared since, and decided again.
 * People call it a Dynamic Consistency Boundary. Subscriptions that share neither course nor student do not disturb each other.
 */

import { parseArgs } from "node:util";
import {
  ConflictError,
  DomainRefusal,
  defineEvents,
  defineProjection,
  type EventFilter,
  type EventStore,
  type EventTypeOf,
  event,
  openEventStore,
  refuse,
} from "strata";
import * as v from "valibot";

const coursesPerStudent = 3;
const seats = v.pipe(v.number(), v.integer(), v.minValue(0));
const subscription = v.object({ course: v.string(), student: v.string() });
const tagsOf = (data: { course: string; student: string }) => [`course:${data.course}`, `student:${data.student}`];

const courseEvents = defineEvents("course", {
  CourseOffered: event({
    schema: v.object({ course: v.string(), capacity: seats }),
    tags: (e) => [`course:${e.course}`],
  }),
  CapacityChanged: event({
    schema: v.object({ course: v.string(), capacity: seats }),
    tags: (e) => [`course:${e.course}`],
  }),
});
const studentEvents = defineEvents("student", {
  Subscribed: event({ schema: subscription, tags: tagsOf }),
  Unsubscribed: event({ schema: subscription, tags: tagsOf }),
});

type Events = typeof courseEvents | typeof studentEvents;
type School = EventStore<Events>;

/** Who sits in which course, written with the events themselves. */
const rosters = defineProjection("rosters", {
  version: 1,
  mode: "inline",
  events: [courseEvents, studentEvents],
  document: v.object({ capacity: v.number(), students: v.array(v.string()) }),
  key: ({ data }) => data.course,
  on: {
    CourseOffered: ({ data }, docs) => docs.set(docs.key, { capacity: data.capacity, students: [] }),
    CapacityChanged: ({ data }, docs) => docs.update(docs.key, (doc) => doc && { ...doc, capacity: data.capacity }),
    Subscribed: ({ data }, docs) =>
      docs.update(docs.key, (doc) => doc && { ...doc, students: [...doc.students, data.student] }),
    Unsubscribed: ({ data }, docs) =>
      docs.update(docs.key, (doc) => doc && { ...doc, students: doc.students.filter((one) => one !== data.student) }),
  },
});

/** What a subscription depends on, and nothing else: the course, and the student. */
function boundary(course: string, student: string): EventFilter<EventTypeOf<Events>> {
  return [{ tags: [`course:${course}`] }, { tags: [`student:${student}`] }];
}

async function subscribe(school: School, course: string, student: string): Promise<void> {
  await school.decide({
    filter: boundary(course, student),
    initialState: () => ({ capacity: undefined as number | undefined, taken: 0, ownCourses: [] as readonly string[] }),
    evolve: {
      CourseOffered: (state, { data }) => (data.course === course ? { ...state, capacity: data.capacity } : state),
      CapacityChanged: (state, { data }) => (data.course === course ? { ...state, capacity: data.capacity } : state),
      Subscribed: (state, { data }) => ({
        ...state,
        taken: state.taken + (data.course === course ? 1 : 0),
        ownCourses: data.student === student ? [...state.ownCourses, data.course] : state.ownCourses,
      }),
      Unsubscribed: (state, { data }) => ({
        ...state,
        taken: state.taken - (data.course === course ? 1 : 0),
        ownCourses: data.student === student ? state.ownCourses.filter((one) => one !== data.course) : state.ownCourses,
      }),
    },
    decide: ({ capacity, taken, ownCourses }) => {
      if (capacity === undefined) refuse("no-such-course");
      if (ownCourses.includes(course)) refuse("subscribed-already");
      if (ownCourses.length >= coursesPerStudent) refuse("student-has-enough");
      if (taken >= capacity) refuse("course-is-full");
      return [{ streamName: `student-${student}`, events: [{ type: "Subscribed", data: { course, student } }] }];
    },
  });
}

/** One student's own question: is there anything to take back? Here the stream is boundary enough. */
async function unsubscribe(school: School, course: string, student: string): Promise<void> {
  await school.decide({
    streams: [`student-${student}`],
    initialState: () => false,
    evolve: {
      Subscribed: (subscribed, { data }) => subscribed || data.course === course,
      Unsubscribed: (subscribed, { data }) => subscribed && data.course !== course,
    },
    decide: (subscribed) =>
      subscribed
        ? [{ streamName: `student-${student}`, events: [{ type: "Unsubscribed", data: { course, student } }] }]
        : [],
  });
}

/** Asks again where too many others were faster ten times in a row: somebody got ahead each time, so it comes to an end. */
async function insist(work: () => Promise<void>): Promise<string> {
  const attemptsMax = 100;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return "subscribed";
    } catch (error) {
      if (error instanceof DomainRefusal) return error.reason;
      if (!(error instanceof ConflictError) || attempt === attemptsMax) throw error;
    }
  }
}

const say = (text: string): void => console.log(text);

/** The two rules, checked on what is stored. */
async function check(school: School, courses: readonly string[]): Promise<void> {
  const coursesOf = new Map<string, number>();
  for (const course of courses) {
    const roster = await school.documents(rosters).get(course);
    const [taken, capacity] = [roster?.students.length ?? 0, roster?.capacity ?? 0];
    say(
      `  ${course.slice(0, course.indexOf("-")).padEnd(10)} ${String(taken).padStart(2)} of ${capacity} seats ${"#".repeat(taken)}`,
    );
    for (const student of roster?.students ?? []) coursesOf.set(student, (coursesOf.get(student) ?? 0) + 1);
    if (taken > capacity || new Set(roster?.students).size !== taken) throw new Error(`${course} holds too many`);
  }
  const most = Math.max(...coursesOf.values());
  say(`  ${coursesOf.size} students, of whom none has more than ${most} courses`);
  if (most > coursesPerStudent) throw new Error("A student has too many courses");
}

const { values } = parseArgs({ options: { url: { type: "string", default: "memory:" } } });
await using school = await openEventStore({
  url: values.url,
  events: [courseEvents, studentEvents],
  projections: [rosters],
});

// A term of its own for each run, so that it can be run again on the same folder.
const term = crypto.randomUUID().slice(0, 8);
const courses = ["algebra", "biology", "chemistry", "drawing"].map((name) => `${name}-${term}`);
const students = Array.from({ length: 24 }, (_, n) => `student${n + 1}-${term}`);
say(`Term ${term} at a school on ${values.url}\n`);
for (const course of courses) {
  const offered = { type: "CourseOffered", data: { course, capacity: 12 } } as const;
  await school.append(`course-${course}`, [offered], { expectedVersion: "no-stream" });
}
say("4 courses of 12 seats. 24 students ask for all 4 of them, all at once:");
const wishes = students.flatMap((student) => courses.map((course) => insist(() => subscribe(school, course, student))));
const answers = await Promise.all(wishes);
for (const answer of new Set(answers))
  say(`  ${String(answers.filter((one) => one === answer).length).padStart(3)}  ${answer}`);
await check(school, courses);

const [algebra = ""] = courses;
const [leaver = ""] = (await school.documents(rosters).get(algebra))?.students ?? [];
say(`\n${leaver} gives the seat in algebra up, and everybody who has none asks again:`);
await unsubscribe(school, algebra, leaver);
const seated = (await school.documents(rosters).get(algebra))?.students ?? [];
const rest = students.filter((student) => !seated.includes(student) && student !== leaver);
const second = await Promise.all(rest.map((student) => insist(() => subscribe(school, algebra, student))));
for (const answer of new Set(second))
  say(`  ${String(second.filter((one) => one === answer).length).padStart(3)}  ${answer}`);
await check(school, courses);

say("\nDrawing moves to a bigger room: 14 seats.");
const [drawing = ""] = courses.slice(-1);
const moved = { type: "CapacityChanged", data: { course: drawing, capacity: 14 } } as const;
await school.append(`course-${drawing}`, [moved], { expectedVersion: 1 });
for (const student of students) await insist(() => subscribe(school, drawing, student));
await check(school, courses);
say("\nNo course is over its capacity, and no student over the limit.");
