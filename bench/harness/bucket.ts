/**
 * Buckets for the scenarios that are about them: that of the run's URL, else one on a MinIO of the scenario's own; and the
 * ways to it: direct, or through a proxy in a process of its own that counts the requests and makes each take longer. What the
 * proxy adds is the time from a request to its answer; connecting stays as fast as loopback is.
 */

import { type S3Options, s3StandardPrices } from "../../src/index.ts";
import { endpointOf } from "../../src/kv/s3-options.ts";
import { type CountRow, type FaultProxy, startFaultProxy, sumOf } from "../../test/support/fault-proxy.ts";
import { minioAvailable, startMinio } from "../../test/support/minio.ts";
import { urlKindOf } from "./locations.ts";
import type { Row, ScenarioContext } from "./scenario.ts";

export interface Bucket {
  /** How a store reaches it directly. */
  readonly s3: S3Options;
  /** The server, where a proxy can stand before it: one that speaks HTTP. */
  readonly proxied: string | undefined;
  /** Where a store may be made that nobody has used before. */
  freshUrl(part: string): string;
}

/** Runs on a bucket, or says in a row of its own why it does not. `needsProxy`: all of it goes by a proxy. Default: false. */
export async function onBucket(
  context: ScenarioContext,
  run: (bucket: Bucket) => Promise<readonly Row[]>,
  { needsProxy = false }: { readonly needsProxy?: boolean } = {},
): Promise<readonly Row[]> {
  const kind = urlKindOf(context.freshUrl("any"));
  if (kind === "memory") return [skipped("skipped: what is in memory is in no bucket")];
  if (kind === "s3") {
    const given: Bucket = { s3: endpointOption(), proxied: proxiedServer(endpointOf({})), freshUrl: context.freshUrl };
    if (needsProxy && given.proxied === undefined) return [skipped("skipped: a proxy stands before http:// only")];
    return await run(given);
  }
  if (!minioAvailable) return [skipped("skipped: no MinIO")];
  await using minio = await startMinio();
  const bucket = await minio.createBucket();
  return await run({ s3: minio.s3, proxied: minio.endpoint, freshUrl: (part) => `s3://${bucket}/${part}` });
}

function proxiedServer(endpoint: string | undefined): string | undefined {
  return endpoint?.startsWith("http://") === true ? endpoint : undefined;
}

function skipped(remark: string): Row {
  return { parameters: {}, n: 0, extra: { remark } };
}

/** Credentials stay where they are, in the environment. */
function endpointOption(): S3Options {
  const endpoint = endpointOf({});
  return endpoint === undefined ? {} : { endpoint };
}

/** Requests by kind, as a bucket bills them. */
export interface Requests {
  readonly puts: number;
  readonly gets: number;
  readonly lists: number;
  readonly heads: number;
  readonly deletes: number;
}

/** A way to a bucket. */
export interface Route extends AsyncDisposable {
  /** For the report. */
  readonly name: string;
  readonly s3: S3Options;
  /** `undefined` for the direct way, which nobody counts. */
  readonly proxy: FaultProxy | undefined;
}

export function directRoute({ s3 }: Bucket): Route {
  return { name: "direct", s3, proxy: undefined, [Symbol.asyncDispose]: async () => {} };
}

/** Each answer takes so much longer; 0 for counting alone. */
export async function proxiedRoute(
  { s3, proxied }: Bucket,
  latencyMs: number,
): Promise<Route & { readonly proxy: FaultProxy }> {
  if (proxied === undefined) throw new Error("There is no server that a proxy can stand before");
  const proxy = await startFaultProxy(proxied);
  if (latencyMs > 0) await proxy.setFault({ fault: { kind: "delay", latency: { fixedMs: latencyMs } } });
  return {
    name: `${latencyMs} ms`,
    s3: { ...s3, endpoint: proxy.endpoint },
    proxy,
    [Symbol.asyncDispose]: () => proxy.stop(),
  };
}

export async function openRoute(bucket: Bucket, latencyMs: number): Promise<Route> {
  return latencyMs === 0 ? directRoute(bucket) : await proxiedRoute(bucket, latencyMs);
}

/** Of the latencies, those that there are ways for. */
export function latenciesTo({ proxied }: Bucket, latenciesMs: readonly number[]): readonly number[] {
  return latenciesMs.filter((latencyMs) => latencyMs === 0 || proxied !== undefined);
}

/** What a proxy has counted; with `beside`, only requests for objects beside the database: leases and checks. */
export function requestsOf(counted: readonly CountRow[], which: "all" | "database" | "beside" = "all"): Requests {
  const rows = counted.filter(({ purpose }) => which === "all" || (purpose === "other") === (which === "beside"));
  const listings = sumOf(rows, { purpose: "list" }).requests;
  return {
    puts: sumOf(rows, { method: "PUT" }).requests + sumOf(rows, { method: "POST" }).requests,
    gets: sumOf(rows, { method: "GET" }).requests - listings,
    lists: listings,
    heads: sumOf(rows, { method: "HEAD" }).requests,
    deletes: sumOf(rows, { method: "DELETE" }).requests,
  };
}

export function timesRequests({ puts, gets, lists, heads, deletes }: Requests, factor: number): Requests {
  return {
    puts: puts * factor,
    gets: gets * factor,
    lists: lists * factor,
    heads: heads * factor,
    deletes: deletes * factor,
  };
}

/** At the prices of S3 Standard. */
export function dollarsOf({ puts, gets, lists, heads }: Requests): number {
  const { perMillionPuts, perMillionLists, perMillionGets } = s3StandardPrices;
  return (puts * perMillionPuts + lists * perMillionLists + (gets + heads) * perMillionGets) / 1e6;
}
