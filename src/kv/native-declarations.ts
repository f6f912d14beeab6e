/**
 * Loads the engine's binding, and changes functions of the library as it declares them, where it leaves no choice itself. Nothing else
 * that koffi loads is touched.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { InternalError, InvalidArgumentError } from "../errors.ts";
import { nativeFunctions } from "./native-functions.ts";
import { FutureReleaser } from "./native-futures.ts";
import { noteCallback, wakingPoll } from "./native-wakeups.ts";

export type NativeFunction = (...given: readonly unknown[]) => unknown;
/** The function with these parameters. */
export type Declare = (parameters: readonly unknown[]) => NativeFunction;

interface KoffiLibrary {
  func(name: string, result: unknown, parameters: readonly unknown[]): NativeFunction;
}

interface Koffi {
  load(this: void, path: string, ...options: unknown[]): KoffiLibrary;
  /** Answers with the pointer that native code calls. */
  register(this: void, callback: unknown, ...type: unknown[]): unknown;
}

const libraryName = "slatedb_uniffi";
const futurePrefix = "ffi_slatedb_uniffi_rust_future_";
/** What tells the library, for the whole process, which callbacks to use from then on. */
const vtablePrefix = "uniffi_slatedb_uniffi_fn_init_callback_vtable_";
/** The bindings whose library keeps futures that were freed; for another one, releasing them a second time might be once too often. */
const keepingFutures = ["0.12.1"];

/** Where koffi keeps what is known of its wrapping: a second copy of Strata must not wrap it again, or what was freed would be freed again. */
const wrappingKey = Symbol.for("strata.wrapping");

interface Wrapping {
  /** Whether a binding has declared its polls since. */
  polls: boolean;
}

let wrapping: Wrapping | undefined;

/**
 * To be called before anything of the engine is used. Throws `invalid-argument` in a Worker: the library has one set of callbacks for
 * the process, those of the thread that told it last. Throws `internal` where the engine would wake calls by the binding's own callback.
 */
export function assertWrapped(): void {
  if (!Bun.isMainThread) {
    throw new InvalidArgumentError(
      "options.url",
      "is of a store that only a process's main thread can open, not a Worker",
    );
  }
  if (wrapping?.polls) return;
  throw new InternalError(
    "The engine's binding was loaded before Strata (import Strata first), or is not the one that Strata was made for",
  );
}

/** `undefined` where the library frees what it is told to free, or is not known to keep it. */
function futureReleaser(binding: string): FutureReleaser | undefined {
  try {
    const { version } = JSON.parse(readFileSync(new URL("package.json", binding), "utf8"));
    return keepingFutures.includes(version) ? new FutureReleaser(nativeFunctions()) : undefined;
  } catch {
    return undefined;
  }
}

function wrap(koffi: Koffi, releaser: FutureReleaser | undefined): void {
  const before: Wrapping | undefined = Reflect.get(koffi, wrappingKey);
  const own = before ?? { polls: false };
  wrapping = own;
  if (before !== undefined) return;
  Reflect.set(koffi, wrappingKey, own);
  const { load, register } = koffi;
  koffi.register = (callback, ...type) => {
    const pointer = register(callback, ...type);
    noteCallback(pointer, callback);
    return pointer;
  };
  koffi.load = (...given) => {
    const library = load(...given);
    // Others may load what has no name.
    if (!String(given[0]).includes(libraryName)) return library;
    const func: KoffiLibrary["func"] = (name, result, parameters) => {
      const declare: Declare = (wanted) => library.func(name, result, wanted);
      // Some declarations have another form.
      if (typeof name !== "string") return declare(parameters);
      // A Worker would have the main thread's callbacks replaced by its own, which end with it.
      if (name.startsWith(vtablePrefix) && !Bun.isMainThread) return () => undefined;
      const isFuture = name.startsWith(futurePrefix);
      if (isFuture && name.startsWith("poll_", futurePrefix.length)) {
        own.polls = true;
        return wakingPoll(declare, parameters);
      }
      if (isFuture && name.startsWith("free_", futurePrefix.length) && releaser !== undefined)
        return releaser.releasing(declare(parameters));
      return declare(parameters);
    };
    return new Proxy(library, { get: (of, key) => (key === "func" ? func : Reflect.get(of, key)) });
  };
}

/**
 * The binding, once what it will load is wrapped. Not by an `import`: a bundle that leaves the binding out has those run before
 * everything else.
 */
export function loadBinding(): unknown {
  const url = import.meta.resolve("@slatedb/uniffi");
  const require = createRequire(url);
  // The very koffi that the binding will import.
  wrap(require("koffi"), futureReleaser(url));
  return require(fileURLToPath(url));
}
