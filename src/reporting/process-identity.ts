/**
 * Who this process is to others on the same database, so that the lease of a process that was killed need not be waited
 * out: one of the same kernel and the same name space of process ids can be looked for. Where that cannot be known, a
 * lease ends by the database's clock alone. A wrong answer costs a change of owner, never a wrong row: fences see to that.
 */

import { readFileSync, readlinkSync } from "node:fs";

function where(): string | undefined {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${boot}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return undefined;
  }
}

const place: string | undefined = where();

/** The name of an owner in this process; `id` tells it from others there. */
export function ownerName(id: string): string {
  return JSON.stringify([place ?? null, process.pid, id]);
}

/** Whether that owner's process is surely gone. */
export function isGone(owner: string): boolean {
  const parts = partsOf(owner);
  if (parts === undefined || place === undefined || parts.place !== place || parts.pid === process.pid) return false;
  try {
    process.kill(parts.pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

function partsOf(owner: string): { readonly place: string; readonly pid: number } | undefined {
  try {
    const [told, pid]: unknown[] = JSON.parse(owner);
    return typeof told === "string" && typeof pid === "number" ? { place: told, pid } : undefined;
  } catch {
    return undefined;
  }
}
