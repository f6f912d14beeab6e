/** A few figures, measured now on this machine, beside whatever else it does. Each measurement has a second. */

import type { Shop } from "../events.ts";
import { chapter, figure, show } from "../narrator.ts";

const measuredMs = 1_000;
const singleAppends = 100;
const appenders = 64;
const probe = { type: "ProbeSent", data: { text: "a few figures" } } as const;

const appendOne = (store: Shop): Promise<unknown> =>
  store.append(`probe-${crypto.randomUUID()}`, [probe], { expectedVersion: "no-stream" });

export async function measure(store: Shop): Promise<void> {
  chapter("A few figures, measured now");
  await oneAppender(store);
  await manyAppenders(store);
  await replaying(store);
}

async function oneAppender(store: Shop): Promise<void> {
  const took: number[] = [];
  const until = performance.now() + measuredMs;
  while (took.length < singleAppends && performance.now() < until) {
    const began = performance.now();
    await appendOne(store);
    took.push(performance.now() - began);
  }
  took.sort((left, right) => left - right);
  const [median, most] = [took[Math.floor(took.length / 2)] ?? 0, took.at(-1) ?? 0];
  show("one appender", `${median.toFixed(2)} ms in the median, ${most.toFixed(2)} ms at most, of ${took.length}`);
}

async function manyAppenders(store: Shop): Promise<void> {
  const began = performance.now();
  let appended = 0;
  const appender = async (): Promise<void> => {
    while (performance.now() - began < measuredMs) {
      await appendOne(store);
      appended += 1;
    }
  };
  await Promise.all(Array.from({ length: appenders }, appender));
  const seconds = (performance.now() - began) / 1_000;
  show(`${appenders} appenders`, `${figure(appended / seconds)} appends/s, each durable, each to a new stream`);
}

async function replaying(store: Shop): Promise<void> {
  const began = performance.now();
  let replayed = 0;
  while (performance.now() - began < measuredMs) {
    for await (const one of store.readAll()) {
      replayed += one.data === undefined ? 0 : 1;
      if (performance.now() - began > measuredMs) break;
    }
  }
  const seconds = (performance.now() - began) / 1_000;
  show("replay", `${figure(replayed / seconds)} events/s, decoded (${figure(replayed)} read)`);
}
