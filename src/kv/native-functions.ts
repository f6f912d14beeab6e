/**
 * The functions of the C library that Bun has no other way to: variables of the native environment, locks on files, bytes of
 * native memory, and giving back memory that was freed.
 */

import { dlopen, FFIType, type Library, type Pointer } from "bun:ffi";
import { InternalError } from "../errors.ts";

export interface NativeFunctions {
  readonly setenv: (name: Uint8Array, value: Uint8Array, overwrite: number) => number;
  readonly unsetenv: (name: Uint8Array) => number;
  readonly getenv: (name: Uint8Array) => string | null;
  /** 0 where the lock was taken. */
  readonly flock: (fileDescriptor: number, operation: number) => number;
  readonly memset: (at: Pointer, byte: number, length: number) => void;
}

const symbols = {
  setenv: { args: [FFIType.cstring, FFIType.cstring, FFIType.int], returns: FFIType.int },
  unsetenv: { args: [FFIType.cstring], returns: FFIType.int },
  getenv: { args: [FFIType.cstring], returns: FFIType.cstring },
  flock: { args: [FFIType.int, FFIType.int], returns: FFIType.int },
  memset: { args: [FFIType.ptr, FFIType.int, FFIType.u64], returns: FFIType.ptr },
} as const;

const trimSymbols = { malloc_trim: { args: [FFIType.u64], returns: FFIType.int } } as const;

let functions: NativeFunctions | undefined;

/** Throws `internal` where this platform's C library is not found. */
export function nativeFunctions(): NativeFunctions {
  if (functions !== undefined) return functions;
  const names =
    process.platform === "darwin"
      ? ["libSystem.B.dylib"]
      : ["libc.so.6", "libc.so", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];
  let cause: unknown;
  for (const name of names) {
    try {
      const library: Library<typeof symbols> = dlopen(name, symbols);
      functions = {
        setenv: (key, value, overwrite) => library.symbols.setenv(key, value, overwrite),
        unsetenv: (key) => library.symbols.unsetenv(key),
        getenv: (key) => {
          const value = library.symbols.getenv(key);
          return value === null || value === undefined ? null : value.toString();
        },
        flock: (fileDescriptor, operation) => library.symbols.flock(fileDescriptor, operation),
        memset: (at, byte, length) => {
          library.symbols.memset(at, byte, length);
        },
      };
      return functions;
    } catch (error) {
      cause = error;
    }
  }
  throw new InternalError(`The C library of this platform was not found: ${names.join(", ")}`, { cause });
}

/** Sought once; null where this C library has no such function, and keeps less. */
let trim: (() => void) | null | undefined;

function findTrim(): (() => void) | null {
  if (process.platform !== "linux") return null;
  try {
    const library: Library<typeof trimSymbols> = dlopen("libc.so.6", trimSymbols);
    return () => library.symbols.malloc_trim(0);
  } catch {
    return null;
  }
}

/**
 * Gives memory that native code has freed back to the system, which the C library of GNU otherwise keeps for itself; elsewhere
 * nothing happens. It takes one or two milliseconds, at times ten times that.
 */
export function returnFreedMemory(): void {
  trim = trim === undefined ? findTrim() : trim;
  trim?.();
}

/** It is the whole process's memory, however many stores there are. */
const returnIntervalMs = 5_000;
let returnedMs = Number.NEGATIVE_INFINITY;

/** As `returnFreedMemory`, at most every five seconds in a process: for who is busy and calls it again and again. */
export function returnFreedMemoryAtTimes(nowMs: number): void {
  if (nowMs - returnedMs < returnIntervalMs) return;
  returnedMs = nowMs;
  returnFreedMemory();
}
