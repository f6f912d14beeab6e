#!/usr/bin/env bun
/**
 * A bank: `bun examples/bank.ts [--url memory:]`, or `file:DIR` to find yesterday's money again.
 *
 * - A transfer is one atomic commit over two streams: money is never in both accounts, and never in none.
 * - No two accounts have the same name, because opening one rests on a query, not on a lock.
 * - A balance read model is written in the commit of the events, so whoever has been answered reads it.
 * - A payment that is sent again, under the same key, is the payment that was made.
 */

import { parseArgs } from "node:util";
import {
  ConflictError,
  DomainRefusal,
  defineDecider,
  defineEvents,
  defineProjection,
  type EventStore,
  event,
  openEventStore,
  refuse,
} from "strata";
import * as v from "valibot";

const cents = v.pipe(v.number(), v.integer(), v.minValue(1));

// What happens to an account. Its events are all there is; a balance is what they add up to.

const accountEvents = defineEvents("account", {
  AccountOpened: event({ schema: v.object({ name: v.string() }), tags: ({ name }) => [`name:${name}`] }),
  MoneyDeposited: event({ schema: v.object({ amount: cents }) }),
  MoneySent: event({ schema: v.object({ to: v.string(), amount: cents }) }),
  MoneyReceived: event({ schema: v.object({ from: v.string(), amount: cents }) }),
});

type Bank = EventStore<typeof accountEvents>;

/** One account on its own: deposits need to know nothing else. */
const accounts = defineDecider("account", {
  events: accountEvents,
  commands: { Deposit: v.object({ amount: cents }) },
  initialState: () => ({ open: false, balance: 0 }),
  evolve: {
    AccountOpened: (state) => ({ ...state, open: true }),
    MoneyDeposited: (state, { data }) => ({ ...state, balance: state.balance + data.amount }),
    MoneySent: (state, { data }) => ({ ...state, balance: state.balance - data.amount }),
    MoneyReceived: (state, { data }) => ({ ...state, balance: state.balance + data.amount }),
  },
  decide: {
    Deposit: ({ data }, state) => (state.open ? [{ type: "MoneyDeposited", data }] : refuse("no-such-account")),
  },
});

/** What people ask for most, kept as documents. It counts up by itself: another road to the same sum as the decider's. */
const balances = defineProjection("balances", {
  version: 1,
  mode: "inline",
  events: [accountEvents],
  document: v.object({ name: v.string(), balance: v.number() }),
  key: ({ streamName }) => streamName.slice("account-".length),
  on: {
    AccountOpened: ({ data }, docs) => docs.set(docs.key, { name: data.name, balance: 0 }),
    MoneyDeposited: ({ data }, docs) =>
      docs.update(docs.key, (doc) => doc && { ...doc, balance: doc.balance + data.amount }),
    MoneySent: ({ data }, docs) =>
      docs.update(docs.key, (doc) => doc && { ...doc, balance: doc.balance - data.amount }),
    MoneyReceived: ({ data }, docs) =>
      docs.update(docs.key, (doc) => doc && { ...doc, balance: doc.balance + data.amount }),
  },
});

/** Opens an account under a name that nobody has: if somebody takes it between the look and the commit, it is looked again. */
async function openAccount(bank: Bank, id: string, name: string): Promise<void> {
  await bank.decide({
    filter: { types: ["AccountOpened"], tags: [`name:${name}`] },
    initialState: () => ({ takenBy: undefined as string | undefined }),
    evolve: { AccountOpened: (_, { streamName }) => ({ takenBy: streamName }) },
    decide: ({ takenBy }) => {
      if (takenBy !== undefined) refuse("name-taken", { name, takenBy });
      return [
        {
          streamName: `account-${id}`,
          events: [{ type: "AccountOpened", data: { name } }],
          expectedVersion: "no-stream",
        },
      ];
    },
  });
}

/** Both accounts as they are, and both changed in one step, on condition that neither has moved meanwhile. */
async function transfer(
  bank: Bank,
  from: string,
  to: string,
  amount: number,
  key: string,
): Promise<{ replayed: boolean }> {
  const [source, target] = [`account-${from}`, `account-${to}`];
  return await bank.decide(
    {
      streams: [source, target],
      initialState: () => ({ balance: 0, open: [] as readonly string[] }),
      evolve: {
        AccountOpened: (state, { streamName }) => ({ ...state, open: [...state.open, streamName] }),
        MoneyDeposited: (state, e) =>
          e.streamName === source ? { ...state, balance: state.balance + e.data.amount } : state,
        MoneySent: (state, e) =>
          e.streamName === source ? { ...state, balance: state.balance - e.data.amount } : state,
        MoneyReceived: (state, e) =>
          e.streamName === source ? { ...state, balance: state.balance + e.data.amount } : state,
      },
      decide: ({ balance, open }) => {
        if (open.length < 2) refuse("no-such-account");
        if (balance < amount) refuse("insufficient-funds", { balance, amount });
        return [
          { streamName: source, events: [{ type: "MoneySent", data: { to, amount } }] },
          { streamName: target, events: [{ type: "MoneyReceived", data: { from, amount } }] },
        ];
      },
    },
    { idempotencyKey: key, metadata: { actor: from } },
  );
}

const money = (amount: number): string => `${(amount / 100).toFixed(2)} EUR`;
const say = (text: string): void => console.log(text);

async function statement(bank: Bank): Promise<number> {
  let total = 0;
  for await (const [id, { name, balance }] of bank.documents(balances).list()) {
    const { state } = await bank.load(accounts, id);
    if (state.balance !== balance) throw new Error(`The read model says ${balance}, the events say ${state.balance}`);
    say(`  ${name.padEnd(5)} ${money(balance).padStart(14)}`);
    total += balance;
  }
  say(`  ${"bank".padEnd(5)} ${money(total).padStart(14)}`);
  return total;
}

/** Runs what may be refused, and says why. */
async function attempt(what: string, work: Promise<unknown>): Promise<void> {
  try {
    await work;
    say(`${what}: done`);
  } catch (error) {
    if (!(error instanceof DomainRefusal)) throw error;
    say(`${what}: refused, ${error.reason}`);
  }
}

const people = ["ann", "bob", "cem", "dee"];

/** A teller moves random amounts. Tellers disturb each other; whose transfer has lost ten times over thinks of another one. */
async function teller(bank: Bank, transfers: number, tally: { moved: number; refused: number }): Promise<void> {
  const anybody = (): string => people[Math.floor(Math.random() * people.length)] ?? "ann";
  for (let done = 0; done < transfers; ) {
    const [from, to, key] = [anybody(), anybody(), crypto.randomUUID()];
    if (from === to) continue;
    const amount = 1 + Math.floor(Math.random() * 6_000);
    const ended = await transfer(bank, from, to, amount, key).then(
      () => "moved" as const,
      (error) => {
        if (error instanceof DomainRefusal) return "refused" as const;
        if (error instanceof ConflictError) return undefined;
        throw error;
      },
    );
    if (ended === undefined) continue;
    tally[ended] += 1;
    done += 1;
  }
}

const { values } = parseArgs({ options: { url: { type: "string", default: "memory:" } } });
await using bank = await openEventStore({ url: values.url, events: [accountEvents], projections: [balances] });

say(`A bank on ${values.url}\n`);
for (const name of people) {
  if ((await bank.documents(balances).get(name)) === undefined)
    await attempt(`Open an account for ${name}`, openAccount(bank, name, name));
  else say(`${name} has an account from an earlier run`);
  await bank.execute(accounts, name, { type: "Deposit", data: { amount: 10_000 } });
}
await attempt("Open another account by the name of ann", openAccount(bank, crypto.randomUUID(), "ann"));
const claims = Array.from({ length: 10 }, () => openAccount(bank, crypto.randomUUID(), "zoe"));
const taken = (await Promise.allSettled(claims)).filter(({ status }) => status === "fulfilled").length;
say(`10 people want the name of zoe at once: ${taken} of them got it`);
say("\nAnn, Bob, Cem and Dee have brought 100.00 EUR each:");
const brought = await statement(bank);

const key = crypto.randomUUID();
const first = await transfer(bank, "ann", "bob", 2_500, key);
const again = await transfer(bank, "ann", "bob", 2_500, key);
say(
  `\nAnn pays Bob 25.00 EUR. Her phone loses the answer and sends it again: replayed ${first.replayed}, then ${again.replayed}.`,
);
await attempt("Ann pays Bob a million", transfer(bank, "ann", "bob", 100_000_000, crypto.randomUUID()));

const tally = { moved: 0, refused: 0 };
await Promise.all(Array.from({ length: 5 }, () => teller(bank, 25, tally)));
say(`\n5 tellers at once: ${tally.moved} transfers done, ${tally.refused} refused for want of money.`);
const left = await statement(bank);
say(left === brought ? "\nNot a cent was lost or made." : `\nMONEY WAS ${left < brought ? "LOST" : "MADE"}`);
if (left !== brought) process.exitCode = 1;
