/**
 * The measurement behind the encoding of payloads: JSON text and three ways of MessagePack, over pages of real and of wide
 * events, in bytes as they are and compressed in blocks, and in time. Independent of the store.
 */

import { Packr } from "msgpackr";
import { wideEventData } from "../harness/sample-events.ts";
import { check, type Row, type Scenario, type ScenarioContext } from "../harness/scenario.ts";
import { median } from "../harness/statistics.ts";

export interface PayloadEncodingSettings {
  readonly events: number;
  readonly passes: number;
}

const pageSizes = [1, 10, 100];
const blockBytes = 16 * 1024;

type Page = readonly unknown[];

/** Encodes a page to one or several byte strings, and back. */
interface Encoding {
  readonly name: string;
  /** What must be kept beside the pages for ever, if anything. */
  readonly dictionaryBytes: () => number;
  readonly encode: (page: Page) => readonly Uint8Array[];
  readonly decode: (parts: readonly Uint8Array[]) => Page;
}

function packedPages(name: string, packr: Packr): Encoding {
  return {
    name,
    dictionaryBytes: () => 0,
    encode: (page) => [packr.pack(page)],
    decode: ([part]) => (part === undefined ? [] : (packr.unpack(part) as Page)),
  };
}

/** One set of record definitions for all pages: small, but no page can be read without it. */
function sharedStructures(): Encoding {
  const structures: string[][] = [];
  const packr = new Packr({ useRecords: true, structures });
  return {
    ...packedPages("msgpack-shared", packr),
    dictionaryBytes: () => Buffer.byteLength(JSON.stringify(structures)),
  };
}

const jsonText: Encoding = {
  name: "json",
  dictionaryBytes: () => 0,
  encode: (page) => page.map((data) => Buffer.from(JSON.stringify(data))),
  decode: (parts) =>
    parts.map((part): unknown => JSON.parse(Buffer.from(part.buffer, part.byteOffset, part.length).toString())),
};

function encodings(): readonly Encoding[] {
  return [
    jsonText,
    packedPages("msgpack-plain", new Packr({ useRecords: false })),
    packedPages("msgpack-records", new Packr({ useRecords: true })),
    sharedStructures(),
  ];
}

function compressedBytes(pages: readonly (readonly Uint8Array[])[]): number {
  const all = Buffer.concat(pages.flat());
  let bytes = 0;
  for (let from = 0; from < all.length; from += blockBytes) {
    bytes += Bun.zstdCompressSync(all.subarray(from, from + blockBytes)).length;
  }
  return bytes;
}

function timed(passes: number, work: () => void): number {
  work();
  const times = Array.from({ length: passes }, () => {
    const startedMs = performance.now();
    work();
    return performance.now() - startedMs;
  });
  return median(times);
}

function measure(
  kind: string,
  encoding: Encoding,
  pages: readonly Page[],
  context: ScenarioContext<PayloadEncodingSettings>,
): Row {
  const { passes } = context.settings;
  const events = pages.reduce((sum, page) => sum + page.length, 0);
  // Packing hands out parts of one big buffer; a copy stands for what was written to storage.
  const encoded = pages.map((page) => encoding.encode(page).map((part) => Uint8Array.from(part)));
  for (const [index, parts] of encoded.entries()) {
    check(Bun.deepEquals(encoding.decode(parts), pages[index]), `${encoding.name} gives back what went in`);
  }
  const encodeMs = timed(passes, () => pages.forEach((page) => void encoding.encode(page)));
  const decodeMs = timed(passes, () => encoded.forEach((parts) => void encoding.decode(parts)));
  const bytes = encoded.flat().reduce((sum, part) => sum + part.length, 0);
  return {
    parameters: { events: kind, page: pages[0]?.length ?? 0, encoding: encoding.name },
    n: events,
    extra: {
      "bytes an event": bytes / events,
      "zstd bytes": compressedBytes(encoded) / events,
      "encode us": (encodeMs * 1_000) / events,
      "decode us": (decodeMs * 1_000) / events,
      "dictionary bytes": encoding.dictionaryBytes(),
    },
  };
}

function pagesOf(events: readonly unknown[], size: number): readonly Page[] {
  return Array.from({ length: Math.floor(events.length / size) }, (_, index) =>
    events.slice(index * size, (index + 1) * size),
  );
}

async function sourceData({ source, settings }: ScenarioContext<PayloadEncodingSettings>): Promise<readonly unknown[]> {
  const events: unknown[] = [];
  for await (const batch of source.batches(settings.events)) events.push(...batch.map(({ data }) => data));
  return events;
}

async function run(context: ScenarioContext<PayloadEncodingSettings>): Promise<readonly Row[]> {
  const wide = Array.from({ length: context.settings.events }, (_, number) => wideEventData(number));
  const kinds = [
    [context.source.kind === "file" ? "real" : "generated", await sourceData(context)],
    ["wide", wide],
  ] as const;
  const rows: Row[] = [];
  for (const [kind, events] of kinds) {
    for (const size of pageSizes) {
      const pages = pagesOf(events, size);
      for (const encoding of encodings()) rows.push(measure(kind, encoding, pages, context));
    }
  }
  return rows;
}

export const payloadEncoding: Scenario<PayloadEncodingSettings> = {
  name: "payload-encoding",
  question: "What do JSON text and the ways of MessagePack cost an event's data in bytes and in time?",
  sizes: {
    smoke: { events: 400, passes: 1 },
    quick: { events: 10_000, passes: 5 },
    full: { events: 20_000, passes: 9 },
  },
  run,
};
