/**
 * The native library reads its S3 settings from the process environment as C sees it, which assignments to
 * `process.env` inside Bun do not reach. This sets variables there for the length of one synchronous call.
 * One thread at a time: what a Worker sets there at the same moment is not kept apart.
 */

import { nativeFunctions } from "./native-functions.ts";

function bytesOf(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}

/**
 * Runs `work` with the given variables in the native environment (`undefined` removes one), then puts back what was
 * there. `work` must be synchronous: nothing else of this thread runs in between.
 */
export function withNativeEnvironment<T>(variables: Readonly<Record<string, string | undefined>>, work: () => T): T {
  const { setenv, unsetenv, getenv } = nativeFunctions();
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
  return nativeFunctions().getenv(bytesOf(name)) ?? undefined;
}
