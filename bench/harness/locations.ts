/** Where the stores of a run live: a place of its own for each scenario, below the URL that was given. */

import { UsageError } from "./usage-error.ts";

export type UrlKind = "memory" | "folder" | "s3";

export function urlKindOf(url: string): UrlKind {
  if (url === "memory:") return "memory";
  if (/^file:.+/.test(url)) return "folder";
  if (/^s3:\/\/[^/]+/.test(url)) return "s3";
  throw new UsageError(`--url must be "memory:", "file:DIR" or "s3://bucket/prefix", not ${JSON.stringify(url)}`);
}

/** A sub-folder, or a longer prefix; everything in memory is fresh anyway. */
export function urlBelow(url: string, name: string): string {
  return urlKindOf(url) === "memory" ? url : `${url.replace(/\/+$/, "")}/${name}`;
}

/** The folder of a `file:` URL, or `undefined`. */
export function folderOf(url: string): string | undefined {
  if (urlKindOf(url) !== "folder") return undefined;
  return url.startsWith("file://") ? decodeURIComponent(url.slice("file://".length)) : url.slice("file:".length);
}
