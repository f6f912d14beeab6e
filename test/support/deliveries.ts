/** Orders that reactors deliver, to an outside system that is a file of lines, and to the store itself; for the crash test. */

import { appendFileSync } from "node:fs";
import { defineReactor, type EventStore, type Reactor } from "../../src/index.ts";

/** What the outside system was told, once for each attempt that came so far. */
export interface Delivery {
  readonly key: string;
  readonly position: number;
  readonly streamName: string;
  readonly version: number;
}

/** An order whose delivery fails whenever it is tried. */
export const poisonType = "PoisonOrdered";

/** `store`: a promise, because reactors are defined before it is open. */
export function deliveryReactors(file: string, store: Promise<EventStore>): readonly Reactor[] {
  const outside = defineReactor("outside", {
    mode: "async",
    retries: { attempts: 3, delayMs: 1 },
    on: {
      Ordered: async ({ position, streamName, version }, { idempotencyKey: key, attempt }) => {
        await Bun.sleep(position % 3);
        appendFileSync(file, `${JSON.stringify({ key, position, streamName, version } satisfies Delivery)}\n`);
        if (attempt === 1 && position % 7 === 0) throw new Error("The answer was lost");
      },
      [poisonType]: () => {
        throw new Error("Nobody takes this");
      },
    },
  });
  const within = defineReactor("within", {
    mode: "async",
    on: {
      Ordered: async ({ streamName, position }, { idempotencyKey }) => {
        const delivered = { type: "Delivered", data: { streamName, position } };
        const name = `delivery-${streamName}`;
        await (await store).append(name, [delivered], { expectedVersion: "any", idempotencyKey });
      },
    },
  });
  return [outside, within];
}
