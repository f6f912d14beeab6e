/** The newest link of a store's hash chain, as a user keeps it elsewhere. */

import { InvalidArgumentError, printable } from "../errors.ts";

/**
 * What stands for all events up to a position: whoever keeps it elsewhere can tell later, by `verify({ against })`, whether the
 * store still holds those events, in that order.
 */
export interface ChainHead {
  /** The position of the last event that it stands for. */
  readonly position: number;
  /** SHA-256, 64 hexadecimal digits. */
  readonly link: string;
  /** The first position that it stands for: 1, or more in a store that is older than the chain. */
  readonly chainedFrom: number;
  /** Position and link as one word, `position:link`: what `--against` takes. */
  readonly text: string;
}

/** What of a head must be kept elsewhere. */
export type KeptHead = string | Pick<ChainHead, "position" | "link">;

export function chainHeadOf(end: { fromPosition: number; position: number; link: Uint8Array }): ChainHead {
  const link = Buffer.from(end.link).toString("hex");
  return { position: end.position, link, chainedFrom: end.fromPosition, text: `${end.position}:${link}` };
}

/** Reads `position:link`, or an object of both. Throws `invalid-argument` for anything else. */
export function checkKeptHead(given: unknown, argument: string): { readonly position: number; readonly link: string } {
  let found: Partial<Record<"position" | "link", unknown>> = {};
  if (typeof given === "string") {
    const [position, link, ...rest] = given.trim().split(":");
    if (rest.length === 0 && /^\d{1,16}$/.test(position ?? "")) found = { position: Number(position), link };
  } else if (typeof given === "object" && given !== null) found = given;
  const { position, link } = found;
  if (typeof position === "number" && Number.isSafeInteger(position) && position >= 0 && typeof link === "string") {
    if (/^[0-9a-f]{64}$/i.test(link)) return { position, link: link.toLowerCase() };
  }
  throw new InvalidArgumentError(
    argument,
    `must be a chain head, as in "1024:" and 64 digits, not ${printable(given)}`,
  );
}
