/**
 * As much of S3 as the engine asks for, in this process and in memory, so that a test can hold an answer back, refuse it,
 * and see each request. It checks no signature; what must hold on a real server is tested in test/s3.
 */

import type { StoreLocation } from "../../src/kv/object-store.ts";

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly modified: Date;
  readonly metadata: readonly (readonly [string, string])[];
}

/** A request as the tests see it: `key` is the path below the bucket, and empty for a listing. */
export interface SeenRequest {
  readonly method: string;
  readonly bucket: string;
  readonly key: string;
  readonly headers: Headers;
}

/** Decides over a request before it is served: a response to give instead, or a promise to wait for, or nothing. */
export type Interceptor = (request: SeenRequest) => Promise<Response | undefined> | Response | undefined;

export interface S3StandIn extends AsyncDisposable {
  readonly endpoint: string;
  readonly location: StoreLocation & { kind: "s3" };
  /** Every request so far, oldest first. */
  readonly requests: SeenRequest[];
  /** Replaces the interceptor; without one everything is served at once. */
  intercept(interceptor: Interceptor | undefined): void;
  /** From now on no request is answered, until `thaw`. */
  freeze(): void;
  thaw(): void;
  keys(): readonly string[];
  /** Removes all objects, as somebody does who begins anew. */
  clear(): void;
}

const bucket = "stand-in";

/** The most keys that one listing names, as on S3. */
const pageKeys = 1_000;

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

function xml(body: string, status = 200): Response {
  return new Response(`<?xml version="1.0" encoding="UTF-8"?>${body}`, {
    status,
    headers: { "content-type": "application/xml" },
  });
}

/** An answer as S3 gives it when it refuses; `more` is XML beside the code. */
export function s3Error(status: number, code: string, more = "", message: string = code): Response {
  return xml(`<Error><Code>${code}</Code><Message>${escapeXml(message)}</Message>${more}</Error>`, status);
}

class Objects {
  readonly #objects = new Map<string, StoredObject>();
  #etags = 0;

  keys(): readonly string[] {
    return [...this.#objects.keys()].sort();
  }

  clear(): void {
    this.#objects.clear();
  }

  list(query: URLSearchParams): Response {
    const prefix = query.get("prefix") ?? "";
    const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
    const delimiter = query.get("delimiter");
    const folders = new Set<string>();
    const entries: string[] = [];
    let last = "";
    let next: string | undefined;
    for (const key of this.keys()) {
      if (!key.startsWith(prefix) || key <= after) continue;
      if (entries.length + folders.size === pageKeys) {
        next = last;
        break;
      }
      last = key;
      const cut = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length);
      if (cut >= 0) folders.add(key.slice(0, cut + 1));
      else entries.push(this.#entry(key));
    }
    const common = [...folders].map((key) => `<CommonPrefixes><Prefix>${escapeXml(key)}</Prefix></CommonPrefixes>`);
    const head = `<Name>${bucket}</Name><KeyCount>${entries.length + folders.size}</KeyCount><MaxKeys>${pageKeys}</MaxKeys>`;
    const token = next === undefined ? "" : `<NextContinuationToken>${escapeXml(next)}</NextContinuationToken>`;
    const more = `<IsTruncated>${next !== undefined}</IsTruncated>${token}`;
    return xml(`<ListBucketResult>${head}${more}${entries.join("")}${common.join("")}</ListBucketResult>`);
  }

  #entry(key: string): string {
    const { bytes, etag, modified } = this.#objects.get(key) ?? {
      bytes: new Uint8Array(),
      etag: "",
      modified: new Date(),
    };
    const times = `<LastModified>${modified.toISOString()}</LastModified><ETag>${escapeXml(etag)}</ETag>`;
    return `<Contents><Key>${escapeXml(key)}</Key>${times}<Size>${bytes.length}</Size></Contents>`;
  }

  async put(key: string, request: Request): Promise<Response> {
    const body = new Uint8Array(await request.arrayBuffer());
    const existing = this.#objects.get(key);
    const match = request.headers.get("if-match");
    if (request.headers.get("if-none-match") === "*" && existing !== undefined) {
      return s3Error(412, "PreconditionFailed");
    }
    if (match !== null && match !== existing?.etag) return s3Error(412, "PreconditionFailed");
    this.#etags += 1;
    const etag = `"${this.#etags.toString(16).padStart(32, "0")}"`;
    const metadata = [...request.headers].filter(([name]) => name.startsWith("x-amz-meta-"));
    this.#objects.set(key, { bytes: body, etag, modified: new Date(), metadata });
    return new Response(null, { headers: { etag } });
  }

  get(key: string, request: Request): Response {
    const object = this.#objects.get(key);
    if (object === undefined)
      return request.method === "HEAD" ? new Response(null, { status: 404 }) : s3Error(404, "NoSuchKey");
    const headers = new Headers(object.metadata.map(([name, value]): [string, string] => [name, value]));
    headers.set("etag", object.etag);
    headers.set("last-modified", object.modified.toUTCString());
    const size = object.bytes.length;
    if (request.method === "HEAD") {
      headers.set("content-length", String(size));
      return new Response(null, { headers });
    }
    const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.get("range") ?? "");
    if (range === null) return new Response(object.bytes.slice(), { headers });
    const [, first = "", last = ""] = range;
    const from = first === "" ? Math.max(0, size - Number(last)) : Number(first);
    const to = first === "" || last === "" ? size - 1 : Math.min(size - 1, Number(last));
    if (from > to) return s3Error(416, "InvalidRange");
    headers.set("content-range", `bytes ${from}-${to}/${size}`);
    return new Response(object.bytes.slice(from, to + 1), { status: 206, headers });
  }

  delete(key: string): Response {
    this.#objects.delete(key);
    return new Response(null, { status: 204 });
  }
}

async function serve(objects: Objects, key: string, url: URL, request: Request): Promise<Response> {
  switch (request.method) {
    case "PUT":
      return await objects.put(key, request);
    case "GET":
      return key === "" ? objects.list(url.searchParams) : objects.get(key, request);
    case "HEAD":
      return objects.get(key, request);
    case "DELETE":
      return objects.delete(key);
    default:
      return s3Error(501, "NotImplemented");
  }
}

/** A certificate and its key, as text. */
export interface StandInTls {
  readonly cert: string;
  readonly key: string;
}

/** With `tls` it speaks HTTPS. */
export function startS3StandIn(tls?: StandInTls): S3StandIn {
  const objects = new Objects();
  const requests: SeenRequest[] = [];
  let interceptor: Interceptor | undefined;
  let frozen: PromiseWithResolvers<void> | undefined;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    ...(tls === undefined ? {} : { tls }),
    async fetch(request) {
      const url = new URL(request.url);
      const [, asked = "", ...rest] = decodeURIComponent(url.pathname).split("/");
      const seen: SeenRequest = {
        method: request.method,
        bucket: asked,
        key: rest.join("/"),
        headers: request.headers,
      };
      requests.push(seen);
      await frozen?.promise;
      const instead = await interceptor?.(seen);
      return instead ?? (await serve(objects, seen.key, url, request));
    },
  });
  return {
    endpoint: `${tls === undefined ? "http" : "https"}://127.0.0.1:${server.port}`,
    location: { kind: "s3", url: `s3://${bucket}/store`, bucket, prefix: "store" },
    requests,
    keys: () => objects.keys(),
    clear: () => objects.clear(),
    intercept: (given) => {
      interceptor = given;
    },
    freeze: () => {
      frozen ??= Promise.withResolvers<void>();
    },
    thaw: () => {
      frozen?.resolve();
      frozen = undefined;
    },
    [Symbol.asyncDispose]: async () => {
      frozen?.resolve();
      await server.stop(true);
    },
  };
}
