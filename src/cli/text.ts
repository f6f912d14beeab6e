/** Values as people read them. What a user gave is data: nothing in it moves the cursor of a terminal. */

import { toPlainData } from "./plain-data.ts";

const counts = new Intl.NumberFormat("en-US");

export function formatCount(count: number): string {
  return counts.format(count);
}

/** As in `1 line`, `2 lines`. */
export function formatCounted(count: number, one: string): string {
  return `${formatCount(count)} ${one}${count === 1 ? "" : "s"}`;
}

export function formatSeconds(ms: number): string {
  const seconds = Math.max(0, ms / 1_000);
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return power === 0 ? `${bytes} bytes` : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`;
}

/** One line of text: control characters, and those that turn the direction of writing, are shown by their numbers. */
export function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
}

/** JSON text of any data, in one line; what JSON cannot say is written readably. */
export function dataText(data: unknown): string {
  return JSON.stringify(toPlainData(data).value);
}
