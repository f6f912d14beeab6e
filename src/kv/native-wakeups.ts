/**
 * How the engine's thread wakes a call of ours. The binding gives it a callback of koffi's, in which it waits until this thread has
 * run it. With a pool of connections that freezes the process: the engine's thread holds the pool's lock while it waits, and this thread
 * waits for the lock. Bun has callbacks that only leave a message and return; `wakeWithoutWaiting` has calls made from then on use one.
 * Bun calls these experimental, so no call uses one unless a store asks for it.
 */

import { FFIType, JSCallback } from "bun:ffi";
import { InternalError } from "../errors.ts";
import type { Declare, NativeFunction } from "./native-declarations.ts";

/** Told of a poll: the number of the call, and whether it is done or to be polled again. */
type Continuation = (call: bigint, poll: number) => unknown;

let wrapped = false;
let wakeup: JSCallback | undefined;
/** What stands behind the pointers that koffi has made; the binding makes one for all its calls. */
const registered = new WeakMap<object, unknown>();
let continueCall: Continuation | undefined;

export function noteCallback(pointer: unknown, callback: unknown): void {
  if (typeof pointer === "object" && pointer !== null) registered.set(pointer, callback);
}

function continuationBehind(pointer: unknown): Continuation {
  const found = typeof pointer === "object" && pointer !== null ? registered.get(pointer) : undefined;
  if (typeof found !== "function")
    throw new InternalError("The binding was not understood: reuseConnections cannot be used");
  return found as Continuation;
}

/** A poll that gives the engine whichever of the two callbacks is in use. */
export function wakingPoll(declare: Declare, parameters: readonly unknown[]): NativeFunction {
  const waiting = declare(parameters);
  const [future, , call] = parameters;
  let leaving: NativeFunction | undefined;
  wrapped = true;
  return (handle, continuation, callHandle) => {
    if (wakeup === undefined) return waiting(handle, continuation, callHandle);
    continueCall ??= continuationBehind(continuation);
    leaving ??= declare([future, "uintptr_t", call]);
    return leaving(handle, wakeup.ptr, callHandle);
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
