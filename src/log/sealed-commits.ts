/**
 * Commits whose events have personal fields: their keys are brought to hand, and the fields sealed, before the commit takes its
 * place in the queue. A key that was destroyed while it waited there makes the judge refuse the commit, which is then sealed anew:
 * what is acknowledged behind a `forget` is readable.
 */

import { EncryptionKeyError, EventStoreError, OverloadedError, withOutcome } from "../errors.ts";
import type { EventRegistry } from "../schema/registry.ts";
import type { PreparedPersonal } from "../schema/sealing.ts";
import type { PreparedCommit } from "./commit.ts";
import type { CommitPipeline } from "./commit-pipeline.ts";
import type { SettledCommit } from "./waiting-commit.ts";

/** How often a commit is sealed anew because its subject was forgotten meanwhile. */
const sealingsMax = 5;

/** What the judge refuses a commit with whose key is gone. It does not leave the log. */
export class KeyDestroyedError extends Error {
  override readonly name = "KeyDestroyedError";
}

/** Seals what is to be sealed, and submits. Throws as `CommitPipeline.submit`, and `encryption-key`. */
export async function submitSealed(
  pipeline: Pick<CommitPipeline, "submit">,
  registry: EventRegistry,
  commit: PreparedCommit,
): Promise<SettledCommit> {
  const { personal } = commit;
  if (personal === undefined) return await pipeline.submit(commit);
  for (let sealing = 1; sealing <= sealingsMax; sealing += 1) {
    try {
      if (!isSealed(personal)) await registry.sealAll(personal);
    } catch (error) {
      // Whatever became of the key, no event was written.
      throw error instanceof EventStoreError ? withOutcome(error, "not-applied") : error;
    }
    if (personal.some(({ key }) => key === undefined))
      throw new EncryptionKeyError("A subject's key could not be brought to hand", { outcome: "not-applied" });
    // One key was destroyed while another was brought to hand: what it was to seal is not sealed, and must not come before others.
    if (!isSealed(personal)) continue;
    try {
      return await pipeline.submit(commit);
    } catch (error) {
      if (!(error instanceof KeyDestroyedError)) throw error;
    }
  }
  throw new OverloadedError("The commit's subjects are being forgotten again and again");
}

/** All of these are sealed, under keys that are there. */
function isSealed(personal: readonly PreparedPersonal[]): boolean {
  return personal.every(({ key }) => key?.isUsable === true);
}
