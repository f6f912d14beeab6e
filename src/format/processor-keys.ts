/**
 * The keys of what processors keep: checkpoints, documents, parked events, timers, process instances, the outbox, settings.
 * The tags are in key-families.ts. Every key begins with the processor's name, so that all of one's rows of a family are
 * one range.
 */

import { type KeySpan, spanOf, tagged, upperTags } from "./key-families.ts";
import { OrderedReader, orderedInteger, orderedString, stringPrefix } from "./ordered-bytes.ts";

export function settingsKey(processor: string): Buffer {
  return tagged(upperTags.processorSettings, orderedString(processor));
}

/** The settings of all processors. */
export const settingsSpan: KeySpan = spanOf(Buffer.of(upperTags.processorSettings));

export function nameOfSettingsKey(key: Uint8Array): string {
  return new OrderedReader(key, 1).string();
}

export function checkpointKey(processor: string, generation: number): Buffer {
  return tagged(upperTags.checkpoints, orderedString(processor), orderedInteger(generation));
}

function generationPrefix(tag: number, projection: string, generation: number): Buffer {
  return tagged(tag, orderedString(projection), orderedInteger(generation));
}

export function documentKey(projection: string, generation: number, key: string): Buffer {
  return Buffer.concat([generationPrefix(upperTags.documents, projection, generation), orderedString(key)]);
}

/** The documents of one generation whose keys begin with `prefix`. */
export function documentSpan(projection: string, generation: number, prefix: string): KeySpan {
  return spanOf(Buffer.concat([generationPrefix(upperTags.documents, projection, generation), stringPrefix(prefix)]));
}

export function keyOfDocumentKey(key: Uint8Array): string {
  const reader = new OrderedReader(key, 1);
  reader.string();
  reader.integer();
  return reader.string();
}

export function documentKeyKey(
  projection: string,
  generation: number,
  index: string,
  value: string,
  key: string,
): Buffer {
  const prefix = generationPrefix(upperTags.documentKeys, projection, generation);
  return Buffer.concat([prefix, orderedString(index), orderedString(value), orderedString(key)]);
}

/** The documents of one generation that stand under a secondary key. */
export function documentKeySpan(projection: string, generation: number, index: string, value: string): KeySpan {
  const prefix = generationPrefix(upperTags.documentKeys, projection, generation);
  return spanOf(Buffer.concat([prefix, orderedString(index), orderedString(value)]));
}

export interface DocumentKeyParts {
  readonly index: string;
  readonly value: string;
  /** Of the document that the secondary key leads to. */
  readonly key: string;
}

export function partsOfDocumentKeyKey(key: Uint8Array): DocumentKeyParts {
  const reader = new OrderedReader(key, 1);
  reader.string();
  reader.integer();
  return { index: reader.string(), value: reader.string(), key: reader.string() };
}

/** The document that a secondary key leads to. */
export function keyOfDocumentKeyKey(key: Uint8Array): string {
  return partsOfDocumentKeyKey(key).key;
}

/** All secondary keys of one generation. */
export function allDocumentKeysSpan(projection: string, generation: number): KeySpan {
  return spanOf(generationPrefix(upperTags.documentKeys, projection, generation));
}

export function parkedKey(processor: string, position: number, part: number): Buffer {
  return tagged(upperTags.parkedEvents, orderedString(processor), orderedInteger(position), orderedInteger(part));
}

/** What a processor has parked, in the order of the log. */
export function parkedSpan(processor: string): KeySpan {
  return spanOf(tagged(upperTags.parkedEvents, orderedString(processor)));
}

export function timerKey(processor: string, dueAtMs: number, instance: string, timer: string): Buffer {
  return tagged(
    upperTags.timers,
    orderedString(processor),
    orderedInteger(dueAtMs),
    orderedString(instance),
    orderedString(timer),
  );
}

/** A processor's timers, in the order in which they are due. */
export function timerSpan(processor: string): KeySpan {
  return spanOf(tagged(upperTags.timers, orderedString(processor)));
}

export function instanceKey(processor: string, instance: string): Buffer {
  return tagged(upperTags.processInstances, orderedString(processor), orderedString(instance));
}

/** Numbers ascend in the order in which what they stand for was decided. */
export function outboxKey(processor: string, number: number): Buffer {
  return tagged(upperTags.outbox, orderedString(processor), orderedInteger(number));
}

export function outboxSpan(processor: string): KeySpan {
  return spanOf(tagged(upperTags.outbox, orderedString(processor)));
}
