/**
 * The event definitions of a store at work: validation and tags on the way in, upcasting on the way out, and filters that
 * find events under the names they were stored with. A store without definitions takes and gives any plain event.
 */

import { InvalidEventError } from "../errors.ts";
import { decodeEvent, type EventToEncode, encodeEvent, mayBeSealed, type StoredEvent } from "../format/envelope.ts";
import type { IdSource } from "../runtime/ids.ts";
import type { EventMetadata, NewEvent, RecordedEvent } from "../vocabulary/event.ts";
import { type CheckedFilter, matches } from "../vocabulary/filter.ts";
import { categoryOf } from "../vocabulary/names.ts";
import type { EventDefinitions } from "./define-events.ts";
import { checkedContent, checkShape } from "./new-event.ts";
import type { SubjectCipher } from "./personal-data.ts";
import { RegisteredTypes } from "./registered-types.ts";
import { type PreparedPersonal, sealable, unsealed, withoutPersonalFields } from "./sealing.ts";
import { StoredNames } from "./stored-names.ts";
import { recorded, upcast } from "./upcasting.ts";

/** An event that is validated, encoded and ready to be numbered. */
export interface PreparedEvent {
  readonly id: string;
  readonly idGiven: boolean;
  readonly type: string;
  readonly tags: readonly string[];
  readonly bytes: Buffer;
  /** Its personal fields, which are not in the bytes before they are sealed. */
  readonly personal?: PreparedPersonal;
}

export class EventRegistry {
  readonly #types: RegisteredTypes;
  readonly #storedNames: StoredNames;
  readonly #ids: IdSource;
  #cipher: SubjectCipher | "hide" | undefined;

  /** Throws `invalid-argument` for definitions that do not fit together. */
  constructor(definitions: readonly EventDefinitions[], ids: IdSource) {
    this.#ids = ids;
    this.#types = new RegisteredTypes(definitions);
    this.#storedNames = new StoredNames(definitions);
  }

  /** Whether some event has personal fields. */
  get hasPersonalFields(): boolean {
    return this.#types.hasPersonalFields;
  }

  /**
   * Who holds the keys of personal fields; `"hide"`: nobody, and they read as `null`. Without one, personal fields are stored as
   * they are, so a store must not be opened so: only kits that store nothing may.
   */
  useCipher(cipher: SubjectCipher | "hide"): void {
    this.#cipher = cipher;
  }

  /**
   * Brings the keys of stored events to hand, so that `read` can open them; nothing where all of them are, which costs a look
   * at one byte an event. Rejects with `storage-unavailable` where the storage does not answer.
   */
  fetchKeys(events: readonly StoredEvent[]): Promise<void> | undefined {
    const cipher = this.#keyHolder;
    if (cipher === undefined) return undefined;
    return events.some(({ bytes }) => mayBeSealed(bytes)) ? cipher.fetch(events) : undefined;
  }

  /** Brings keys for new events to hand, made where there are none yet, and seals all of these events. */
  async sealAll(personal: readonly PreparedPersonal[]): Promise<void> {
    const cipher = this.#keyHolder;
    if (cipher === undefined) return;
    const keys = await cipher.provide(new Set(personal.map(({ subjectHash }) => subjectHash)));
    for (const one of personal) {
      const key = keys.get(one.subjectHash);
      if (key !== undefined) one.seal(key);
    }
  }

  /** Whether the store was opened with these definitions, these very ones. */
  has(definitions: EventDefinitions): boolean {
    return this.#types.has(definitions);
  }

  /** Validates and encodes one event for a stream. Throws `invalid-event`, or `invalid-argument` for what is no event. */
  prepare(streamName: string, event: NewEvent, argument: string, inherited: EventMetadata): PreparedEvent {
    checkShape(event, argument);
    const registered = this.#types.ofNew(streamName, event, argument);
    const plain: EventToEncode = {
      ...checkedContent(event, registered, argument),
      id: event.id ?? this.#ids.next(),
      idGiven: event.id !== undefined,
      type: event.type,
      occurredAtMs: event.occurredAt?.getTime(),
      metadata: event.metadata === undefined ? inherited : { ...inherited, ...event.metadata },
    };
    const cipher = this.#keyHolder;
    if (registered?.definition.personal === undefined || cipher === undefined) return encoded(plain, argument);
    const sealing = withoutPersonalFields(plain, registered, cipher, argument);
    const prepared = encoded(sealing.event, argument);
    return { ...prepared, personal: sealable(streamName, prepared, sealing, cipher) };
  }

  /**
   * Decodes a stored event and brings it to today's version: mostly one event, several or none where an upcaster split it.
   * Throws `unreadable-event`, also for one whose key is lost, or was not brought to hand by `fetchKeys`.
   */
  read(stored: StoredEvent): readonly RecordedEvent[] {
    const decoded = unsealed(stored, decodeEvent(stored), this.#cipher);
    const registered = this.#types.find(stored.streamName, decoded.type);
    if (registered !== undefined && decoded.schemaVersion !== registered.definition.version)
      return upcast(stored, decoded, registered, this.#types);
    const type = registered?.type ?? decoded.type;
    return [recorded(stored, decoded, type, decoded.schemaVersion, decoded.data)];
  }

  /**
   * The same filter over the names that events were stored with. It may match more than the filter itself, where a stored
   * event was renamed or may split, so what is found still has to pass that.
   */
  storedFilter(filter: CheckedFilter): CheckedFilter {
    return this.#storedNames.widen(filter);
  }

  /** Whether an event that was read passes the filter: a split or renamed one may not, though its stored form did. */
  passes(filter: CheckedFilter, event: RecordedEvent): boolean {
    if (filter === undefined || this.#storedNames.isEmpty) return true;
    return matches(filter, { type: event.type, category: categoryOf(event.streamName), tags: event.tags });
  }

  get #keyHolder(): SubjectCipher | undefined {
    return this.#cipher === "hide" ? undefined : this.#cipher;
  }
}

function encoded(event: EventToEncode, argument: string): PreparedEvent {
  const { id, idGiven, type, tags } = event;
  const bytes = encodeEvent(event);
  if ("issues" in bytes) throw new InvalidEventError(argument, type, bytes.issues);
  return { id, idGiven, type, tags, bytes };
}
