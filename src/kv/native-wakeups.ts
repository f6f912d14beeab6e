/**
 * How the engine's thread wakes a call of ours. The binding gives it a callback of koffi's, in which it waits until this thread has
 * run it. With a pool of connections that freezes the process: the engine's thread holds the pool's lock while it waits, and this thread
 * waits for the lock. Bun has callbacks that only leave a message and return; `wakeWithoutWaiting` has calls made from then on use one.
 * Bun calls these experimental, so no call uses one unless a store asks for it.
 *
 * To be imported before the binding, whose functions are wrapped as they are declared; nothing else that koffi loads is touched.
 */

import { FFIType, JSCallback } from "bun:ffi";
import { createRequire } from "node:module";
import { InternalError } from "../errors.ts";

/** Told of a poll: the number of the call, and whether it is done or to be polled again. */
type Continuation = (call: bigint, poll: number) => unknown;
type Poll = (future: unknown, continuation: unknown, call: unknown) => unknown;

interface KoffiLibrary {
  func(name: string, result: unknown, parameters: readonly unknown[]): Poll;
}

interface Koffi {
  load(this: void, path: string, ...options: unknown[]): KoffiLibrary;
  /** Answers with the pointer that native code calls. */
  register(this: void, callback: unknown, ...type: unknown[]): unknown;
}

const libraryName = "slatedb_uniffi";
const pollPrefix = "ffi_slatedb_uniffi_rust_future_poll_";

let wrapped = false;
let wakeup: JSCallback | undefined;
/** What stands behind the pointers that koffi has made; the binding makes one for all its calls. */
const registered = new WeakMap<object, unknown>();
let continueCall: Continuation | undefined;

function continuationBehind(pointer: unknown): Continuation {
  const found = typeof pointer === "object" && pointer !== null ? registered.get(pointer) : undefined;
  if (typeof found !== "function")
    throw new InternalError("The binding was not understood: reuseConnections cannot be used");
  return found as Continuation;
}

/** A poll that gives the engine whichever of the two callbacks is in use. */
function wrapPoll(library: KoffiLibrary, name: string, result: unknown, parameters: readonly unknown[]): Poll {
  const waiting = library.func(name, result, parameters);
  const [future, , call] = parameters;
  let leaving: Poll | undefined;
  wrapped = true;
  return (handle, continuation, callHandle) => {
    if (wakeup === undefined) return waiting(handle, continuation, callHandle);
    continueCall ??= continuationBehind(continuation);
    leaving ??= library.func(name, result, [future, "uintptr_t", call]);
    return leaving(handle, wakeup.ptr, callHandle);
  };
}

function wrap(koffi: Koffi): void {
  const { load, register } = koffi;
  koffi.register = (callback, ...type) => {
    const pointer = register(callback, ...type);
    if (typeof pointer === "object" && pointer !== null) registered.set(pointer, callback);
    return pointer;
  };
  koffi.load = (...given) => {
    const library = load(...given);
    if (!given[0].includes(libraryName)) return library;
    const func: KoffiLibrary["func"] = (name, result, parameters) =>
      typeof name === "string" && name.startsWith(pollPrefix)
        ? wrapPoll(library, name, result, parameters)
        : library.func(name, result, parameters);
    return new Proxy(library, { get: (of, key) => (key === "func" ? func : Reflect.get(of, key)) });
  };
}

/**
 * From now on the engine's thread does not wait for this one in calls that are begun here. False where the binding's functions
 * could not be wrapped: then nothing has changed, and there must be no pool.
 */
export function wakeWithoutWaiting(): boolean {
  if (!wrapped) return false;
  wakeup ??= new JSCallback((call: number | bigint, poll: number) => continueCall?.(BigInt(call), poll), {
    // Not `u64`, which would make an object of this thread's on the engine's.
    args: [FFIType.u64_fast, FFIType.i8],
    returns: FFIType.void,
    threadsafe: true,
  });
  return true;
}

try {
  // The very koffi that the binding will import.
  wrap(createRequire(import.meta.resolve("@slatedb/uniffi"))("koffi"));
} catch {
  // Another binding, which has no koffi: it will not be found wrapped.
}
