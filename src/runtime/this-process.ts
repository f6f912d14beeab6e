/** Where this code runs, for people who look for the process that writes. */

import { hostname } from "node:os";

export interface ProcessPlace {
  /** The machine's own name for itself; containers have their own. */
  readonly host: string;
  readonly pid: number;
}

export function thisProcess(): ProcessPlace {
  return { host: hostname(), pid: process.pid };
}
