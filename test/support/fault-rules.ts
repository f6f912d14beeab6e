/**
 * What a fault proxy is told to do, as plain data, and the deciding: which requests a rule is for, whether it strikes (by a
 * seed, so that the same requests in the same order meet the same faults), and how long an answer takes. No input or output.
 */

import { seededRandom } from "./random.ts";

/** What the engine asks for: its log, its tables, its manifests, its compactor's state; or a listing; or something else. */
export type RequestPurpose = "wal" | "sst" | "manifest" | "compactions" | "list" | "other";

/** A request, as rules and counts see it. */
export interface ProxiedRequest {
  readonly method: string;
  readonly bucket: string;
  /** Below the bucket; for a listing its prefix. */
  readonly key: string;
  readonly purpose: RequestPurpose;
}

/** How long: always the same, even between two bounds, or log-normal around a median (a long tail, as object stores have). */
export type Latency =
  | { readonly fixedMs: number }
  | { readonly fromMs: number; readonly toMs: number }
  | { readonly medianMs: number; readonly p99Ms: number };

/** "Before" the server saw it: not applied. "After" it acted: the caller cannot know. */
export type Fault =
  /** The proxy answers so itself, with S3's error document; the server never sees the request. */
  | { readonly kind: "answer"; readonly status: number; readonly code: string }
  /** The server acts, and the caller gets this answer instead of its own. */
  | { readonly kind: "answer-after"; readonly status: number; readonly code: string }
  | { readonly kind: "reset-before" }
  | { readonly kind: "reset-after" }
  /** The first half of the request reaches the server, then both connections end. */
  | { readonly kind: "half-request" }
  /** The server acts; half of its answer reaches the caller, then the connection ends. */
  | { readonly kind: "half-response" }
  /** Nothing is answered, and the connection stays open for as long as the caller keeps it. */
  | { readonly kind: "silence-before" }
  | { readonly kind: "silence-after" }
  /** The request's `x-amz-date` is moved, so that the server itself refuses it for its clock. */
  | { readonly kind: "clock-skew"; readonly skewMs: number }
  /**
   * Request and answer are under way for so long, half of it each (short ones: the answer, for timers are no finer than that).
   * Adds up with other rules, and with any other fault.
   */
  | { readonly kind: "delay"; readonly latency: Latency };

export interface FaultRule {
  readonly fault: Fault;
  /** Only requests of these buckets; without it all. Likewise below; all parts given must hold. */
  readonly buckets?: readonly string[];
  readonly methods?: readonly string[];
  readonly purposes?: readonly RequestPurpose[];
  readonly keyIncludes?: string;
  /** Leaves the first so many of the requests that it is for alone. Default: 0. */
  readonly after?: number;
  /** Of the requests that it is for, how many it strikes. Default: 1, all. */
  readonly probability?: number;
  /** Decides which. Default: 1. */
  readonly seed?: number;
  /** At most so many times. Default: no limit. */
  readonly count?: number;
  /** For so long after it was set. Default: until it is cleared. */
  readonly forMs?: number;
}

/** What happens to one request. */
export interface Decision {
  readonly delayMs: number;
  readonly fault: Exclude<Fault, { kind: "delay" }> | undefined;
}

/** No single wait of a log-normal latency is longer than so many times its 99th percentile. */
const latencyTailMax = 4;

function latencyMs(latency: Latency, random: () => number): number {
  if ("fixedMs" in latency) return latency.fixedMs;
  if ("fromMs" in latency) return latency.fromMs + random() * (latency.toMs - latency.fromMs);
  const { medianMs, p99Ms } = latency;
  // Box and Muller: two even numbers make a normal one. 2.326 is the normal distribution's 99th percentile.
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const sigma = Math.log(p99Ms / medianMs) / 2.326;
  return Math.min(medianMs * Math.exp(sigma * normal), p99Ms * latencyTailMax);
}

interface Active {
  readonly rule: FaultRule;
  readonly random: () => number;
  readonly endMs: number;
  met: number;
  struck: number;
}

function isFor(rule: FaultRule, request: ProxiedRequest): boolean {
  return (
    (rule.buckets?.includes(request.bucket) ?? true) &&
    (rule.methods?.includes(request.method) ?? true) &&
    (rule.purposes?.includes(request.purpose) ?? true) &&
    (rule.keyIncludes === undefined || request.key.includes(rule.keyIncludes))
  );
}

/** The rules in force. Of several faults that strike one request the oldest rule's counts; delays add up. */
export class FaultRules {
  readonly #active = new Map<number, Active>();

  set(id: number, rule: FaultRule, nowMs: number): void {
    const endMs = nowMs + (rule.forMs ?? Number.POSITIVE_INFINITY);
    this.#active.set(id, { rule, random: seededRandom(rule.seed ?? 1), endMs, met: 0, struck: 0 });
  }

  /** Answers how often it has struck. */
  clear(id: number): number {
    const struck = this.#active.get(id)?.struck ?? 0;
    this.#active.delete(id);
    return struck;
  }

  clearAll(): void {
    this.#active.clear();
  }

  decide(request: ProxiedRequest, nowMs: number): Decision {
    let delayMs = 0;
    let fault: Decision["fault"];
    for (const active of this.#active.values()) {
      const { rule, random } = active;
      if (nowMs >= active.endMs || active.struck >= (rule.count ?? Number.POSITIVE_INFINITY)) continue;
      if (!isFor(rule, request)) continue;
      active.met += 1;
      if (active.met <= (rule.after ?? 0) || random() >= (rule.probability ?? 1)) continue;
      if (rule.fault.kind === "delay") delayMs += latencyMs(rule.fault.latency, random);
      else if (fault === undefined) fault = rule.fault;
      else continue;
      active.struck += 1;
    }
    return { delayMs, fault };
  }
}

/** What a path-style request is about. `target` is the request line's: path and query, escaped. */
export function classify(method: string, target: string): ProxiedRequest {
  const [path = "", query = ""] = target.split("?", 2);
  const [, bucket = "", ...rest] = decodeURIComponent(path).split("/");
  const key = rest.join("/");
  if (key === "" && method === "GET") {
    return { method, bucket, key: new URLSearchParams(query).get("prefix") ?? "", purpose: "list" };
  }
  return { method, bucket, key, purpose: purposeOf(key) };
}

function purposeOf(key: string): RequestPurpose {
  if (key.includes("/wal/")) return "wal";
  if (key.includes("/compacted/")) return "sst";
  if (key.includes("/manifest/")) return "manifest";
  if (key.includes("/compactions/")) return "compactions";
  return "other";
}
