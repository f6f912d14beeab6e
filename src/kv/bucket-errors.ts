/**
 * What went wrong between us and a bucket, in one sentence each. The errors of the S3 client carry the request they belong to, and
 * with it key ids and session tokens: only a name, a status and a redacted message of them go on, and nothing else is kept.
 */

import { EventStoreError, StorageUnavailableError, type WriteOutcome } from "../errors.ts";
import { DeadlineExpired } from "../runtime/deadline.ts";

/** What was being done when it failed: getting credentials, or what a permission is named by. */
export type BucketTask = "sign" | "list" | "read" | "write" | "delete" | "make";

/** An error of the S3 client without its request. `name` is S3's own code, or the system's, as in ECONNREFUSED. */
export class BucketError extends Error {
  readonly task: BucketTask;
  /** Of HTTP; undefined where there was no answer. */
  readonly status: number | undefined;
  /** Where the bucket is, if the server says that it is elsewhere. */
  readonly region: string | undefined;
  /** How often the request was sent. */
  readonly attempts: number;

  constructor(error: unknown, task: BucketTask, secrets: Iterable<string>) {
    // A server may repeat what it was sent, in its code as well.
    const hidden = [...secrets].sort((one, other) => other.length - one.length);
    const redact = (text: string): string => hidden.reduce((shown, secret) => shown.replaceAll(secret, "***"), text);
    const message = error instanceof Error ? error.message : String(error);
    super(redact(message));
    this.name = redact(nameOf(error));
    this.task = task;
    const metadata = partOf(error, "$metadata");
    this.status = numberOf(partOf(metadata, "httpStatusCode"));
    this.attempts = numberOf(partOf(metadata, "attempts")) ?? 1;
    this.region = regionOf(error);
  }
}

function partOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function nameOf(error: unknown): string {
  if (error instanceof DeadlineExpired) return error.name;
  // The client hung on to a body that it could not read.
  if (partOf(error, "$responseBodyText") !== undefined) return "NotS3";
  const code = partOf(error, "code");
  if (typeof code === "string") return code;
  return error instanceof Error ? error.name : "unknown error";
}

/** S3 says it in a header, in a part of its answer, or only in its text. */
function regionOf(error: unknown): string | undefined {
  const header = partOf(partOf(partOf(error, "$response"), "headers"), "x-amz-bucket-region");
  const told = [header, partOf(error, "Region"), /expecting '([^']*)'/.exec(String(partOf(error, "message")))?.[1]];
  return told.find((region): region is string => typeof region === "string" && /^[a-z0-9-]{1,40}$/.test(region));
}

const permissions: Readonly<Record<Exclude<BucketTask, "sign">, string>> = {
  list: "list the bucket (s3:ListBucket)",
  read: "read objects of the bucket (s3:GetObject)",
  write: "write objects into the bucket (s3:PutObject)",
  delete: "delete objects of the bucket (s3:DeleteObject)",
  make: "make the bucket (s3:CreateBucket)",
};

const problems: Readonly<Record<string, string>> = {
  DeadlineExpired: "The bucket did not answer in time",
  ECONNREFUSED: "No server listens there (ECONNREFUSED)",
  ENOTFOUND: "The server's name is not known (ENOTFOUND)",
  EAI_AGAIN: "The server's name cannot be looked up (EAI_AGAIN)",
  NoSuchBucket: "There is no such bucket (createBucket makes it)",
  InvalidAccessKeyId: "The server does not know this access key id",
  SignatureDoesNotMatch: "The secret access key does not belong to this access key id",
  InvalidToken: "The server does not know this session token",
  InvalidTokenId: "The server does not know this session token, or this access key id without one",
  ExpiredToken: "These credentials have ended",
  RequestTimeTooSkewed: "The clock of this machine differs too much from the server's",
  DEPTH_ZERO_SELF_SIGNED_CERT: "The server's certificate is signed by itself alone",
  SELF_SIGNED_CERT_IN_CHAIN: "The server's certificate is signed by an authority that is not trusted here",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "The server's certificate is signed by an authority that is not trusted here",
  UNABLE_TO_GET_ISSUER_CERT: "The server's certificate is signed by an authority that is not trusted here",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "The server's certificate is signed by an authority that is not trusted here",
  CERT_HAS_EXPIRED: "The server's certificate has expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "The server's certificate is for another name",
  ERR_SSL_WRONG_VERSION_NUMBER: "The server speaks plain HTTP there, not HTTPS",
  PlainHttpToTls: "The server speaks HTTPS there, not plain HTTP",
  ConditionIgnored: "The server does not honour If-None-Match, on which the fencing of writers rests",
  OtherBytes: "The server gave back other bytes than were written",
};

const sourceMessageMax = 300;

const redirects: readonly string[] = ["PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect"];

/** The SDK's own words say what to do, as in "run aws sso login"; one line of them. */
function credentialProblem(error: BucketError): string {
  const [line = ""] = error.message.split("\n");
  if (line.startsWith("Could not load credentials from any providers"))
    return "No credentials were found in the options, the environment or a profile";
  return `The source of the credentials gives none (${error.name}: ${line.slice(0, sourceMessageMax)})`;
}

function problemOf(error: BucketError): string {
  if (error.task === "sign") return credentialProblem(error);
  const known = Object.hasOwn(problems, error.name) ? problems[error.name] : undefined;
  if (known !== undefined) return known;
  if (error.status === 301 || error.status === 307 || redirects.includes(error.name)) {
    if (error.region !== undefined) return `The bucket is in another region, ${error.region}`;
    if (error.name !== "AuthorizationHeaderMalformed") return "The bucket is in another region";
  }
  if (error.name === "AccessDenied" || error.name === "Forbidden" || error.status === 403)
    return `These credentials may not ${permissions[error.task]}`;
  if (error.status !== undefined && error.status >= 500)
    return `The server cannot do this now (${error.name}, HTTP ${error.status})`;
  // Every refusal of S3 has a code; without one the client knows no more than the status.
  if (error.name === "NotS3" || error.message === "UnknownError") return "What answers there does not speak S3";
  return `The bucket cannot be reached (${error.name})`;
}

/** The error of ours that a user gets. `where` names the bucket and its server. */
export function storageError(error: unknown, where: string, outcome?: WriteOutcome): EventStoreError {
  if (error instanceof EventStoreError) return error;
  const cause = error instanceof BucketError ? error : new BucketError(error, "list", []);
  const told = outcome === undefined ? { cause } : { cause, outcome };
  return new StorageUnavailableError(`${problemOf(cause)}: ${where}`, told);
}
