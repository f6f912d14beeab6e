/**
 * The lease as it is stored: one small JSON object beside the database, which people may read. No two that one writer stores
 * are alike, so that an object's tag changes with each renewal. What cannot be read is told apart from what is not there.
 */

import type { WriterLease } from "../vocabulary/writer-lease.ts";

/** Its name, below the store's folder or prefix. */
export const leaseName = "lease.json";

const leaseFormat = 1;

/** More than any lease has; what is larger is none. */
const leaseBytesMax = 16 * 1024;

/** A lease may promise at most so long a time: a record that is wrong must not keep standbys waiting for ever. */
export const expiresAfterMsMax: number = 10 * 60_000;

/** How long a record that nobody can read must stand unchanged, before a standby takes its writer for gone. */
export const unreadableExpiresAfterMs = 60_000;

const note =
  "Who writes to this store. Advice for people and standbys: two writers are kept apart by fencing, not by this object.";

export type StoredLease =
  | { readonly kind: "lease"; readonly lease: WriterLease }
  | { readonly kind: "unreadable"; readonly why: string };

/** `renewals`: how often this writer has stored it before. */
export function encodeLease(lease: WriterLease, renewals: number): Uint8Array {
  const { state, instanceId, writerName, host, pid, startedAt, renewedAt, expiresAfterMs } = lease;
  const expiresAt = state === "held" ? new Date(renewedAt.getTime() + expiresAfterMs) : undefined;
  const record = {
    format: leaseFormat,
    note,
    state,
    ...(writerName === undefined ? {} : { writerName }),
    host,
    pid,
    startedAt,
    renewedAt,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    expiresAfterMs,
    renewals,
    instanceId,
  };
  return new TextEncoder().encode(`${JSON.stringify(record, undefined, 2)}\n`);
}

/** Damaged records and those of newer formats are `unreadable`, and nothing is thrown. */
export function decodeLease(bytes: Uint8Array): StoredLease {
  if (bytes.length > leaseBytesMax) return unreadable(`it has ${bytes.length} bytes`);
  let record: unknown;
  try {
    record = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return unreadable("it is no JSON");
  }
  if (typeof record !== "object" || record === null) return unreadable("it is no JSON object");
  const fields = new Map<string, unknown>(Object.entries(record));
  const format = fields.get("format");
  if (format !== leaseFormat) {
    const newer = typeof format === "number" && format > leaseFormat;
    return unreadable(newer ? `its format ${format} is of a newer version` : "it has no format of ours");
  }
  const lease = leaseOf(fields);
  return lease === undefined ? unreadable("a field is missing or wrong") : { kind: "lease", lease };
}

function leaseOf(fields: ReadonlyMap<string, unknown>): WriterLease | undefined {
  const state = fields.get("state");
  const instanceId = textOf(fields.get("instanceId"));
  const writerName = textOf(fields.get("writerName"));
  const host = textOf(fields.get("host"));
  const pid = integerOf(fields.get("pid"), Number.MAX_SAFE_INTEGER);
  const startedAt = timeOf(fields.get("startedAt"));
  const renewedAt = timeOf(fields.get("renewedAt"));
  const expiresAfterMs = integerOf(fields.get("expiresAfterMs"), expiresAfterMsMax);
  if (state !== "held" && state !== "released") return undefined;
  if (instanceId === undefined || host === undefined || pid === undefined) return undefined;
  if (startedAt === undefined || renewedAt === undefined || expiresAfterMs === undefined) return undefined;
  if (fields.has("writerName") && writerName === undefined) return undefined;
  const named = writerName === undefined ? {} : { writerName };
  return { state, instanceId, ...named, host, pid, startedAt, renewedAt, expiresAfterMs };
}

function unreadable(why: string): StoredLease {
  return { kind: "unreadable", why };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function integerOf(value: unknown, most: number): number | undefined {
  return Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) <= most ? Number(value) : undefined;
}

function timeOf(value: unknown): Date | undefined {
  const time = typeof value === "string" ? new Date(value) : undefined;
  return time === undefined || Number.isNaN(time.getTime()) ? undefined : time;
}
