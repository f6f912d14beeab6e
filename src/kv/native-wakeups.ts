/**
 * How the engine's threads wake a call of ours: by a callback of Bun's that leaves a message and returns.
 *
 * The binding gives them a callback of koffi's instead. Called by another thread, that one asks Node-API for its data and waits until
 * this thread has run it, and both do harm. Asking (`napi_get_instance_data`, Bun 1.4.5) sets aside and puts back what this thread is
 * throwing at that moment: exceptions are lost, thrown twice or unhandled, calls are answered with nothing, the process dies.
 * Waiting with the lock of the engine's connection pool in hand freezes the process where this thread wants that lock.
 */

import { FFIType, JSCallback } from "bun:ffi";
import { InternalError } from "../errors.ts";
import type { Declare, NativeFunction } from "./native-declarations.ts";

/** Told of a poll: the number of the call, and whether it is done or to be polled again. */
type Continuation = (call: bigint, poll: number) => unknown;

/** What stands behind the pointers that koffi has made; the binding makes one for all its calls. */
const registered = new WeakMap<object, unknown>();
let continueCall: Continuation | undefined;
/** One for ever: what the engine still has under way may call it at any time. */
let wakeup: JSCallback | undefined;

export function noteCallback(pointer: unknown, callback: unknown): void {
  if (typeof pointer === "object" && pointer !== null) registered.set(pointer, callback);
}

function continuationBehind(pointer: unknown): Continuation {
  const found = typeof pointer === "object" && pointer !== null ? registered.get(pointer) : undefined;
  if (typeof found !== "function") throw new InternalError("The engine's binding was not understood");
  return found as Continuation;
}

function makeWakeup(): JSCallback {
  return new JSCallback((call: number | bigint, poll: number) => continueCall?.(BigInt(call), poll), {
    // Not `u64`, which would make an object of this thread's on the engine's.
    args: [FFIType.u64_fast, FFIType.i8],
    returns: FFIType.void,
    threadsafe: true,
  });
}

/** A poll that gives the engine our callback instead of the binding's. */
export function wakingPoll(declare: Declare, parameters: readonly unknown[]): NativeFunction {
  const [future, , call] = parameters;
  const poll = declare([future, "uintptr_t", call]);
  return (handle, continuation, callHandle) => {
    continueCall ??= continuationBehind(continuation);
    wakeup ??= makeWakeup();
    return poll(handle, wakeup.ptr, callHandle);
  };
}
