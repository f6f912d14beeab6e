/**
 * What the errors of the S3 client become: errors of ours that say in one sentence what is wrong. The client's errors carry the
 * request they belong to, and with it key ids and session tokens: only their name and their redacted message go on.
 */

import { EventStoreError, StorageUnavailableError, type WriteOutcome } from "../errors.ts";
import { DeadlineExpired } from "../runtime/deadline.ts";

/** What kind of error it is: S3's own name for it, or the system's, as in ECONNREFUSED. */
export function errorName(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}

/** What the client's error says, without the request it carries. A server may repeat what it was sent, in the name as well. */
function withoutRequest(error: unknown, secrets: Iterable<string>): Error {
  let message = error instanceof Error ? error.message : String(error);
  let name = errorName(error);
  for (const secret of secrets) {
    message = message.replaceAll(secret, "***");
    name = name.replaceAll(secret, "***");
  }
  const bare = new Error(message);
  bare.name = name;
  return bare;
}

/** One sentence for each way in which a bucket says no. */
function problemOf(error: unknown, name: string): string {
  if (error instanceof DeadlineExpired) return "The bucket did not answer in time";
  switch (name) {
    case "NoSuchBucket":
      return "There is no such bucket (createBucket makes it)";
    case "InvalidAccessKeyId":
    case "SignatureDoesNotMatch":
      return "The server refuses these credentials";
    case "AccessDenied":
      return "These credentials may not list the bucket";
    case "CredentialsProviderError":
      return "No credentials were found in the options, the environment or a profile";
    default:
      return `The bucket cannot be reached (${name})`;
  }
}

/** An error of ours stays as it is. `where` names the bucket and its server; `secrets` are shown nowhere. */
export function bucketError(
  error: unknown,
  where: string,
  secrets: Iterable<string>,
  outcome?: WriteOutcome,
): EventStoreError {
  if (error instanceof EventStoreError) return error;
  const cause = withoutRequest(error, secrets);
  const told = outcome === undefined ? { cause } : { cause, outcome };
  return new StorageUnavailableError(`${problemOf(error, cause.name)}: ${where}`, told);
}
