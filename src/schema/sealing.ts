/**
 * Personal fields on their way into an event's bytes and out again: taken out of the data when the event is prepared, sealed under
 * their subject's key once that is at hand, and put back in their places when it is read. Knows no key, and stores nothing.
 */

import {
  type EventIssue,
  InvalidArgumentError,
  InvalidEventError,
  printable,
  UnreadableEventError,
} from "../errors.ts";
import { type DecodedEvent, type EventToEncode, readHeader, type StoredEvent } from "../format/envelope.ts";
import { emptySealedFields } from "../format/sealed-fields.ts";
import type { PersonalPart } from "../vocabulary/event.ts";
import { nameProblem } from "../vocabulary/names.ts";
import type { AnyEventDefinition } from "./define-events.ts";
import { decodeFields, encodeFields } from "./personal-content.ts";
import {
  putFields,
  type SealingKey,
  type SubjectCipher,
  subjectTagPrefix,
  takeFields,
  tellingTag,
} from "./personal-data.ts";
import type { RegisteredType } from "./registered-types.ts";

/** Personal fields of a prepared event, and how they come into its bytes: `seal` may be called again with another key. */
export interface PreparedPersonal {
  readonly subjectHash: string;
  /** The key that they are sealed under now. */
  key: SealingKey | undefined;
  seal(key: SealingKey): void;
}

/** A decoded event, with what readers are told of its personal fields. */
export interface ReadableEvent extends DecodedEvent {
  readonly personal?: PersonalPart;
}

const hidden = { kind: "hidden" } as const;

/** An event without its personal fields, with room for them, and what is to be sealed there. */
export interface Sealing {
  readonly event: EventToEncode;
  readonly subjectHash: string;
  readonly content: Buffer;
}

/** Takes the personal fields out of an event. Throws `invalid-event` where they, or a tag, cannot be stored so. */
export function withoutPersonalFields(
  plain: EventToEncode,
  { type, definition }: RegisteredType,
  cipher: SubjectCipher,
  argument: string,
): Sealing {
  const invalid = (issues: readonly EventIssue[]): InvalidEventError => new InvalidEventError(argument, type, issues);
  const taken = takeFields(plain.data, definition.personal?.fields ?? []);
  if ("issues" in taken) throw invalid(taken.issues);
  const telling = tellingTag(plain.tags, taken.values);
  // What it is is not said: messages end up in logs.
  if (telling !== undefined)
    throw invalid([
      { path: `tags.${telling}`, message: "gives a personal field away, and tags are stored as they are" },
    ]);
  const content = encodeFields(taken.values);
  if ("issues" in content) throw invalid(content.issues);
  const subjectHash = cipher.hashOf(subjectOf(definition, plain.data, argument, type));
  const paths = Object.keys(taken.values);
  const sealed = emptySealedFields(Buffer.from(subjectHash, "hex"), paths, content.length);
  const tags = [...plain.tags, `${subjectTagPrefix}${subjectHash}`];
  return { event: { ...plain, data: taken.data, tags, sealed }, subjectHash, content };
}

function subjectOf({ personal }: AnyEventDefinition, data: unknown, argument: string, type: string): string {
  let subject: unknown;
  try {
    subject = personal?.subject(data);
  } catch (cause) {
    const problem = `of ${printable(type)} threw`;
    throw new InvalidArgumentError("event.personal.subject", problem, { cause, outcome: "not-applied" });
  }
  const problem = nameProblem(subject);
  if (problem === undefined) return subject as string;
  throw new InvalidEventError(argument, type, [{ path: "personal.subject", message: problem }]);
}

/** What seals the event: at once, where its key is at hand. */
export function sealable(
  streamName: string,
  { id, bytes }: { readonly id: string; readonly bytes: Buffer },
  { subjectHash, content }: Sealing,
  cipher: SubjectCipher,
): PreparedPersonal {
  const { sealed } = readHeader(bytes);
  const personal: PreparedPersonal = {
    subjectHash,
    key: undefined,
    seal: (key) => {
      if (sealed !== undefined) cipher.seal(key, { streamName, eventId: id }, bytes, sealed, content);
      personal.key = key;
    },
  };
  const key = cipher.keyFor(subjectHash);
  if (key !== undefined) personal.seal(key);
  return personal;
}

/** The event with its personal fields in their places, or with what says why they are not. Throws `unreadable-event`. */
export function unsealed(
  stored: StoredEvent,
  decoded: DecodedEvent,
  cipher: SubjectCipher | "hide" | undefined,
): ReadableEvent {
  const { sealed } = decoded;
  if (sealed === undefined) return decoded;
  const tags = decoded.tags.filter((tag) => !tag.startsWith(subjectTagPrefix));
  const personal = { subject: Buffer.from(sealed.subject).toString("hex"), fields: sealed.paths };
  const unreadable = (problem: string, cause?: unknown): UnreadableEventError =>
    new UnreadableEventError({ ...stored, type: decoded.type }, problem, cause);
  if (cipher === undefined)
    throw unreadable("its personal fields are encrypted, and the store was opened without encryption");
  const opened = cipher === "hide" ? hidden : cipher.open(stored, decoded.id, sealed);
  switch (opened.kind) {
    case "open":
      putFields(decoded.data, decodeFields(opened.content));
      return { ...decoded, tags, personal };
    case "forgotten":
      return { ...decoded, tags, personal: { ...personal, erased: "forgotten", erasedAt: new Date(opened.atMs) } };
    case "hidden":
      return { ...decoded, tags, personal: { ...personal, erased: "hidden" } };
    case "lost":
      throw unreadable(opened.why.message, opened.why);
  }
}
