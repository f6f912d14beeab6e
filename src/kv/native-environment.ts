/**
 * The native library reads its S3 settings from the process environment as C sees it, which assignments to
 * `process.env` inside Bun do not reach. This sets variables there for the length of one synchronous call.
 */

import { dlopen, FFIType, type Library } from "bun:ffi";
import { InternalError } from "../errors.ts";

interface EnvironmentFunctions {
  readonly setenv: (name: Uint8Array, value: Uint8Array, overwrite: number) => number;
  readonly unsetenv: (name: Uint8Array) => number;
  readonly getenv: (name: Uint8Array) => string | null;
}

let functions: EnvironmentFunctions | undefined;

const symbols = {
  setenv: { args: [FFIType.cstring, FFIType.cstring, FFIType.int], returns: FFIType.int },
  unsetenv: { args: [FFIType.cstring], returns: FFIType.int },
  getenv: { args: [FFIType.cstring], returns: FFIType.cstring },
} as const;

function load(): EnvironmentFunctions {
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
      };
      return functions;
    } catch (error) {
      cause = error;
    }
  }
  throw new InternalError(`The C library of this platform was not found: ${names.join(", ")}`, { cause });
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}

/**
 * Runs `work` with the given variables in the native environment (`undefined` removes one), then puts back what was
 * there. `work` must be synchronous: nothing else of this thread runs in between.
 */
export function withNativeEnvironment<T>(variables: Readonly<Record<string, string | undefined>>, work: () => T): T {
  const { setenv, unsetenv, getenv } = load();
  const put = (name: string, value: string | null | undefined): void => {
    if (value === undefined || value === null) unsetenv(bytesOf(name));
    else setenv(bytesOf(name), bytesOf(value), 1);
  };
  const before = Object.keys(variables).map((name) => [name, getenv(bytesOf(name))] as const);
  try {
    for (const [name, value] of Object.entries(variables)) put(name, value);
    return work();
  } finally {
    for (const [name, value] of before) put(name, value);
  }
}

/** What the native library would find under `name`. */
export function nativeEnvironmentValue(name: string): string | undefined {
  return load().getenv(bytesOf(name)) ?? undefined;
}
