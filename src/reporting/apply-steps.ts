/**
 * Runs the handlers over some steps, within a transaction. Handlers are called one after another; one that answers with a
 * single statement is not waited for, because the connection keeps the order. Whichever fails is told by its position.
 */

import type { TransactionSQL } from "bun";
import { matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { SqlProjection } from "./define-sql-projection.ts";
import { HandlerFailure, isDatabaseTrouble } from "./failures.ts";
import { HandlerSession } from "./handler-session.ts";
import type { DatabaseKind } from "./reporting-database.ts";
import type { Step } from "./steps.ts";

/** How many statements of handlers are under way before the first of them is waited for. */
const pipelineMax = 256;

/** Whose handlers, and into which tables. */
export interface StepTarget {
  readonly projection: SqlProjection;
  readonly build: number;
  readonly kind: DatabaseKind;
}

/** Statements that are under way, each with the position of its event, in order. */
class Pipeline {
  #waiting: { readonly position: number; readonly running: Promise<unknown> }[] = [];

  get isFull(): boolean {
    return this.#waiting.length >= pipelineMax;
  }

  add(position: number, running: Promise<unknown>): void {
    running.catch(() => {});
    this.#waiting.push({ position, running });
  }

  /** Rejects as the first of them that does; in PostgreSQL those behind it fail for its sake. */
  async settle(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { position, running } of waiting) {
      await running.catch((error: unknown) => failAt(position, error));
    }
  }
}

/**
 * Rejects with `HandlerFailure`, or with the database's trouble; or with an error as it is, where collected rows are refused
 * and may be any event's. Then nothing may be committed, and going step by step tells whose it is.
 */
export async function applySteps(
  transaction: TransactionSQL,
  { projection, build, kind }: StepTarget,
  steps: readonly Step[],
): Promise<void> {
  const session = new HandlerSession(transaction, kind, build);
  const pipeline = new Pipeline();
  for (const { position, events } of steps) {
    for (const event of events) {
      const { filter, on, onAny } = projection;
      const shape = { type: event.type, category: categoryOf(event.streamName), tags: event.tags };
      const handler = Object.hasOwn(on, event.type) ? on[event.type] : onAny;
      if (handler === undefined || !matches(filter, shape)) continue;
      try {
        const result = handler(event, session.sql, session.context);
        if (isQuery(result)) pipeline.add(position, result.execute());
        else if (result instanceof Promise) await result;
        // Statements in a list would never be sent, and nobody would notice.
        else if (Array.isArray(result)) throw new TypeError("a handler answered with a list: await its statements");
      } catch (error) {
        await pipeline.settle();
        failAt(position, error);
      }
      if (pipeline.isFull) await pipeline.settle();
    }
  }
  await pipeline.settle();
  try {
    await session.settle();
  } catch (error) {
    const [only, ...others] = steps;
    if (only !== undefined && others.length === 0) failAt(only.position, error);
    throw error;
  }
}

function failAt(position: number, error: unknown): never {
  if (isDatabaseTrouble(error) || error instanceof HandlerFailure) throw error;
  throw new HandlerFailure(position, error);
}

interface Query extends Promise<unknown> {
  execute(): Promise<unknown>;
}

function isQuery(value: unknown): value is Query {
  return value instanceof Promise && typeof Reflect.get(value, "execute") === "function";
}
