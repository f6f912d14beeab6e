/** Made-up loan applications: many streams side by side, about 20 events each, small data. The same in every run. */

import type { SourceEvent } from "./event-source.ts";
import { type RandomNumbers, seededRandom } from "./random.ts";

const openLoansMax = 800;
const loanEventsMax = 175;
const startMs: number = Date.UTC(2020, 0, 1);
const stepMs = 50_000;

const openingTypes = ["A_SUBMITTED", "A_PARTLYSUBMITTED", "A_PREACCEPTED"];
const middleTypes = [
  "W_Complete application",
  "W_Complete application",
  "W_Call after offer",
  "W_Call after offer",
  "W_Validate application",
  "W_Call incomplete files",
  "A_ACCEPTED",
  "A_FINALIZED",
  "O_SELECTED",
  "O_CREATED",
  "O_SENT",
  "O_SENT_BACK",
];
const closingTypes = ["A_APPROVED", "A_DECLINED", "A_DECLINED", "A_DECLINED", "A_CANCELLED"];
const transitions = ["SCHEDULE", "START", "COMPLETE"];

interface OpenLoan {
  readonly streamName: string;
  readonly length: number;
  written: number;
}

function openLoan(number: number, random: RandomNumbers): OpenLoan {
  const length = Math.min(loanEventsMax, 3 + Math.floor(-17 * Math.log(1 - random.next())));
  return { streamName: `loan-${173_688 + number * 3}`, length, written: 0 };
}

function oneOf(values: readonly string[], random: RandomNumbers): string {
  return values[random.below(values.length)] ?? "";
}

function nextEvent(loan: OpenLoan, index: number, random: RandomNumbers): SourceEvent {
  const occurredAt = new Date(startMs + index * stepMs);
  loan.written += 1;
  const opening = openingTypes[loan.written - 1];
  const type = opening ?? (loan.written === loan.length ? oneOf(closingTypes, random) : oneOf(middleTypes, random));
  const workItem = type.startsWith("W_");
  // A few clerks do most of the work.
  const resource = String(10_000 + Math.floor(random.next() ** 2 * 68));
  const data = {
    transition: workItem ? oneOf(transitions, random) : "COMPLETE",
    resource,
    ...(loan.written === 1
      ? { REG_DATE: occurredAt.toISOString(), AMOUNT_REQ: String(500 * (1 + random.below(100))) }
      : {}),
  };
  return { id: `${loan.streamName}-${loan.written}`, type, streamName: loan.streamName, occurredAt, data };
}

export async function* generatedBatches(count: number, batchEventsMax: number): AsyncGenerator<readonly SourceEvent[]> {
  const random = seededRandom(20_120_101);
  const open: OpenLoan[] = [];
  let opened = 0;
  let batch: SourceEvent[] = [];
  for (let index = 0; index < count; index += 1) {
    let place = random.below(openLoansMax);
    if (place >= open.length) {
      place = open.length;
      open.push(openLoan(opened, random));
      opened += 1;
    }
    const loan = open[place] as OpenLoan;
    batch.push(nextEvent(loan, index, random));
    if (loan.written === loan.length) {
      open[place] = openLoan(opened, random);
      opened += 1;
    }
    if (batch.length < batchEventsMax) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
