/**
 * Processors in a copy: those whose effects lie outside of their store would have them twice, once by the store and once by its copy,
 * so they stand still there until somebody resumes them. Read models are the copy's own and go on.
 */

import type { KeySpan } from "../format/key-families.ts";
import { nameOfSettingsKey, settingsSpan } from "../format/processor-keys.ts";
import { decodeRecord, recordRow } from "../format/processor-records.ts";
import type { KvRow } from "../kv/kv.ts";

/** What `settings` say that this file reads; the rest is kept. */
interface KeptSettings {
  readonly kind: string;
  readonly paused: boolean;
}

/** A row as it is to be in the copy; the names of processors that stand still there are added to `paused`. */
export function withPause(row: KvRow, paused: Set<string>): KvRow {
  if (!isIn(row.key, settingsSpan)) return row;
  const settings = decodeRecord("settings", row) as KeptSettings;
  if (settings.kind === "projection") return row;
  paused.add(nameOfSettingsKey(row.key));
  return settings.paused ? row : recordRow("settings", row.key, { ...settings, paused: true });
}

function isIn(key: Uint8Array, { start, end }: KeySpan): boolean {
  return Buffer.compare(key, start) >= 0 && Buffer.compare(key, end) < 0;
}
