/** How a decider says no. A refusal is the domain's own answer: it reaches the caller as it is, and is no error of the store. */

/**
 * Thrown by `execute` and `decide` where the domain refuses: nothing was written, and trying again changes nothing until the
 * state does. `reason` is what a caller branches on; `data` is whatever it needs to know. May be extended.
 */
export class DomainRefusal<Reason extends string = string, Data = unknown> extends Error {
  readonly reason: Reason;
  readonly data: Data;

  constructor(reason: Reason, data: Data, message?: string) {
    super(message ?? `Refused: ${reason}`);
    this.name = new.target.name;
    this.reason = reason;
    this.data = data;
  }
}

/**
 * Refuses, from anywhere inside `decide`; it does not return. `reason` is stable and for machines, as in `"sold-out"`; `data`
 * goes with it. Throws `DomainRefusal`.
 */
export function refuse<Reason extends string, Data = undefined>(reason: Reason, data?: Data): never {
  throw new DomainRefusal(reason, data);
}
