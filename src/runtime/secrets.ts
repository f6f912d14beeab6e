/** Randomness that must not be guessed, and the comparison that tells nothing of what it compares. */

import { timingSafeEqual } from "node:crypto";

/** 256 random bits as text that fits into a header. */
export function unguessableText(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
}

/** So many random bytes, for keys and nonces. */
export function secretBytes(length: number): Buffer {
  return crypto.getRandomValues(Buffer.alloc(length));
}

/** Whether both are the same, found out in a time that does not depend on where they differ. */
export function sameSecret(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)];
  return left.length === right.length && timingSafeEqual(left, right);
}
