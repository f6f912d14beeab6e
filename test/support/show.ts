/** A small domain for the tests of deciders: seats of a show, which can be reserved and given back until it is closed. */

import * as v from "valibot";
import {
  type Decider,
  defineDecider,
  defineEvents,
  type EventDefinition,
  type EventDefinitions,
  event,
  refuse,
  type SnapshotPolicy,
} from "../../src/index.ts";

type Plain<T> = v.GenericSchema<T, T>;

export type ShowEvents = EventDefinitions<
  "show",
  {
    readonly SeatReserved: EventDefinition<Plain<{ seat: number; by: string }>>;
    readonly SeatReleased: EventDefinition<Plain<{ seat: number }>>;
    readonly ShowClosed: EventDefinition<Plain<{ why: string }>>;
  }
>;

export type ShowCommands = {
  readonly Reserve: Plain<{ seat: number; by: string }>;
  readonly Release: Plain<{ seat: number }>;
  readonly Close: Plain<{ why: string }>;
};

export interface ShowState {
  readonly seats: Readonly<Record<number, string>>;
  readonly closed: boolean;
}

export type ShowDecider = Decider<ShowState, ShowEvents, ShowCommands>;

const seat = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100));

export const show: ShowEvents = defineEvents("show", {
  SeatReserved: event({ schema: v.object({ seat, by: v.string() }), tags: ({ by }) => [`by:${by}`] }),
  SeatReleased: event({ schema: v.object({ seat }) }),
  ShowClosed: event({ schema: v.object({ why: v.string() }) }),
});

/** The decider; `seen` is told of each decision, with the state that it rests on. */
export function defineShow(
  options: {
    readonly name?: string;
    readonly snapshots?: SnapshotPolicy<ShowState>;
    readonly truncated?: "refuse" | "fold";
    readonly seen?: (state: ShowState) => unknown;
  } = {},
): ShowDecider {
  const seen = (state: ShowState): void => {
    options.seen?.(state);
  };
  return defineDecider(options.name ?? "show", {
    events: show,
    commands: {
      Reserve: v.object({ seat, by: v.pipe(v.string(), v.nonEmpty()) }),
      Release: v.object({ seat }),
      Close: v.object({ why: v.string() }),
    },
    initialState: (): ShowState => ({ seats: {}, closed: false }),
    evolve: {
      SeatReserved: (state, { data }) => ({ ...state, seats: { ...state.seats, [data.seat]: data.by } }),
      SeatReleased: (state, { data }) => {
        const { [data.seat]: _, ...seats } = state.seats;
        return { ...state, seats };
      },
      ShowClosed: (state) => ({ ...state, closed: true }),
    },
    decide: {
      Reserve: ({ data }, state) => {
        seen(state);
        if (state.closed) refuse("closed");
        const taken = state.seats[data.seat];
        if (taken === data.by) return [];
        if (taken !== undefined) refuse("taken", { by: taken });
        return [{ type: "SeatReserved", data }];
      },
      Release: ({ data }, state) => {
        seen(state);
        return state.seats[data.seat] === undefined ? [] : [{ type: "SeatReleased", data }];
      },
      Close: ({ data }, state) => {
        seen(state);
        if (state.closed) return [];
        const releases = Object.keys(state.seats).map((key) => ({
          type: "SeatReleased" as const,
          data: { seat: Number(key) },
        }));
        return [...releases, { type: "ShowClosed", data }];
      },
    },
    ...(options.snapshots === undefined ? {} : { snapshots: options.snapshots }),
    ...(options.truncated === undefined ? {} : { truncated: options.truncated }),
  });
}

/** The state that a list of events leads to, worked out without Strata. */
export function foldShow(events: Iterable<{ readonly type: string; readonly data: unknown }>): ShowState {
  const seats: Record<number, string> = {};
  let closed = false;
  for (const { type, data } of events) {
    const { seat: number, by } = data as { seat: number; by: string };
    if (type === "SeatReserved") seats[number] = by;
    else if (type === "SeatReleased") delete seats[number];
    else closed = true;
  }
  return { seats, closed };
}
