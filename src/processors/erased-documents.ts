/** A forgotten subject's documents, as a projection declares them: which they are, and taking the subject out of them. */

import { InvalidArgumentError } from "../errors.ts";
import { checkName } from "../vocabulary/names.ts";
import type { AnyProjection } from "./define-projection.ts";
import type { DocumentOverlay } from "./document-overlay.ts";
import type { DocumentStore } from "./document-store.ts";

/** The most documents of one subject in one projection: with their secondary keys they are changed in commits of a thousand. */
export const personalKeysMax = 10_000;
export const erasedAtOnce = 1_000;

/** The keys of a subject's documents. Throws `invalid-argument` for what are none, or what the function threw. */
export function personalKeysOf({ name, personal }: AnyProjection, subject: string): readonly string[] {
  if (personal === undefined) return [];
  const argument = `${name}.personal.keys`;
  let keys: unknown;
  try {
    keys = personal.keys(subject);
  } catch (cause) {
    throw new InvalidArgumentError(argument, "threw", { cause });
  }
  if (!Array.isArray(keys) || keys.length > personalKeysMax)
    throw new InvalidArgumentError(argument, `must return a list of at most ${personalKeysMax} keys`);
  return [...new Set(keys.map((key) => checkName(key, argument)))];
}

/** Takes the subject out of these documents, in memory; how many there were. Reads what is needed. */
export async function eraseIn(
  overlay: DocumentOverlay,
  documents: DocumentStore,
  keys: readonly string[],
  {
    projection,
    subject,
    position,
  }: { readonly projection: AnyProjection; readonly subject: string; readonly position: number },
): Promise<number> {
  await documents.loadToErase(keys);
  const { personal } = projection;
  const change = personal?.erase === undefined ? undefined : (document: unknown) => personal.erase?.(document, subject);
  return keys.filter((key) => overlay.erase(key, position, change)).length;
}
