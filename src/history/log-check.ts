/**
 * Walks the log in the order of its positions: that each has its event or a record that it was dropped, that the digests lead
 * from stored link to stored link, and to the newest one. Behind damage it goes on from the next stored link.
 */

import { StorageCorruptError } from "../errors.ts";
import {
  type ChainEnd,
  ChainLink,
  decodeChainLink,
  digestBytes,
  firstLink,
  linkEveryPositions,
  writeEventDigest,
} from "../format/chain.ts";
import { entriesOf } from "../format/drop-events.ts";
import type { StoredEvent } from "../format/envelope.ts";
import {
  chainLinkKey,
  droppedRunsKey,
  globalPageKey,
  globalPageSpan,
  lastPositionOfGlobalPageKey,
  segmentOf,
} from "../format/key-families.ts";
import { decodeGlobalPage } from "../format/pages.ts";
import type { KvReader, KvRow } from "../kv/kv.ts";
import { loadDropped } from "../log/dropped-events.ts";
import type { BreakList } from "./break-list.ts";
import { byNumber, tolerantRows } from "./tolerant-rows.ts";

export interface LogCheckOptions {
  readonly kv: KvReader;
  /** The chain as it was when verifying began; nothing where the store has none. */
  readonly chain: ChainEnd | undefined;
  /** Positions: the first of the store, or behind one whose link is stored; and the last of the store, or one whose link is. */
  readonly fromPosition: number;
  readonly toPosition: number;
  /** A link that must be met on the way. */
  readonly against: { readonly position: number; readonly link: string } | undefined;
  readonly breaks: BreakList;
  /** Told of each event with its digest, which is overwritten afterwards. */
  readonly onEvent: (event: StoredEvent, digest: Uint8Array) => void;
  /** Told after each page. */
  readonly onPage: (position: number) => void;
}

export class LogCheck {
  readonly #options: LogCheckOptions;
  readonly #digest: Buffer = Buffer.allocUnsafeSlow(digestBytes);
  readonly #link = new ChainLink(new Uint8Array(digestBytes));
  /** Whether `#link` is the link of the position before `#next`. */
  #known = false;
  /** Behind the last link that was found to hold. */
  #heldTo: number;
  #next: number;
  /** The digests of the dropped events of one segment. */
  #dropped: { readonly segment: number; readonly digests: ReadonlyMap<number, Uint8Array> } | undefined;
  #keptIsOpen: boolean;
  #counts = { events: 0, dropped: 0, links: 0 };

  constructor(options: LogCheckOptions) {
    this.#options = options;
    this.#next = options.fromPosition;
    this.#heldTo = options.fromPosition;
    this.#keptIsOpen = options.against !== undefined;
  }

  get counts(): { readonly events: number; readonly dropped: number; readonly links: number } {
    return this.#counts;
  }

  async run(): Promise<void> {
    const { kv, fromPosition, toPosition } = this.#options;
    await this.#begin();
    const seek = byNumber(lastPositionOfGlobalPageKey, globalPageKey, toPosition);
    for await (const found of tolerantRows(kv, globalPageSpan(fromPosition), "replay", seek)) {
      if (this.#next > toPosition) break;
      if (found.kind === "row") await this.#page(found.row);
      else {
        const readable = found.before === undefined ? toPosition + 1 : lastPositionOfGlobalPageKey(found.before);
        const reason = `These positions cannot be read: ${causeOf(found.error)}`;
        await this.#lose("unreadable", Math.min(toPosition, readable - 1), reason);
      }
      this.#options.onPage(this.#next - 1);
    }
    await this.#passOver(toPosition);
    if (this.#keptIsOpen) this.#compareKept();
  }

  async #page(row: KvRow): Promise<void> {
    const { toPosition } = this.#options;
    const key = Buffer.from(row.key).toString("hex");
    let events: readonly StoredEvent[];
    try {
      events = decodeGlobalPage(row);
      if (!ascends(events, lastPositionOfGlobalPageKey(row.key))) {
        throw new StorageCorruptError("its positions do not ascend to the one in its key");
      }
    } catch (error) {
      const last = Math.min(toPosition, lastPositionOfGlobalPageKey(row.key));
      await this.#lose("unreadable", last, `A page of the log is damaged: ${messageOf(error)}`, key);
      return;
    }
    for (const event of events) {
      // What comes again was merged into this page while it was walked.
      if (event.position < this.#next) continue;
      await this.#passOver(Math.min(toPosition, event.position - 1));
      if (event.position > toPosition) return;
      writeEventDigest(event, this.#digest);
      this.#options.onEvent(event, this.#digest);
      this.#counts.events += 1;
      const compared = this.#advance(this.#digest);
      if (compared !== undefined) await compared;
    }
  }

  /** Goes over positions up to `to` that have no event: those that were dropped have digests, the others are missing. */
  async #passOver(to: number): Promise<void> {
    while (this.#next <= to) {
      const position = this.#next;
      const digest = (await this.#droppedIn(segmentOf(position))).get(position);
      if (digest === undefined) {
        await this.#missing(to);
        continue;
      }
      this.#counts.dropped += 1;
      await this.#advance(digest);
    }
  }

  /** Positions from the next one on, up to `to` or the next dropped one of their segment, have no event and no record. */
  async #missing(to: number): Promise<void> {
    const segment = segmentOf(this.#next);
    const dropped = await this.#droppedIn(segment);
    let last = this.#next;
    while (last < to && segmentOf(last + 1) === segment && !dropped.has(last + 1)) last += 1;
    await this.#lose("missing", last, "There is no event at these positions, and no record that they were dropped");
  }

  async #droppedIn(segment: number): Promise<ReadonlyMap<number, Uint8Array>> {
    if (this.#dropped?.segment === segment) return this.#dropped.digests;
    const digests = new Map<number, Uint8Array>();
    try {
      const found = await loadDropped(this.#options.kv, [segment]);
      for (const { position, digest } of entriesOf(found.get(segment))) digests.set(position, digest);
    } catch (error) {
      this.#record(
        droppedRunsKey(segment),
        this.#next,
        `What is kept of dropped events is damaged: ${messageOf(error)}`,
      );
    }
    this.#dropped = { segment, digests };
    return digests;
  }

  /** Names positions up to `to` as lost, and goes behind them. */
  async #lose(kind: "unreadable" | "missing", to: number, reason: string, row?: string): Promise<void> {
    if (to < this.#next) return;
    const fromPosition = this.#next;
    this.#options.breaks.add({ kind, fromPosition, toPosition: to, ...(row === undefined ? {} : { row }), reason });
    // The chain can be taken up again where a link is stored.
    this.#known = false;
    this.#next = to + 1;
    if (to % linkEveryPositions === 0) await this.#resume(to);
  }

  /** Goes behind the next position, whose digest this is; a promise where there is a link to compare. */
  #advance(digest: Uint8Array): Promise<void> | undefined {
    const { chain, against } = this.#options;
    const position = this.#next;
    this.#next += 1;
    if (chain === undefined || position < chain.fromPosition) return undefined;
    if (this.#known) this.#link.addDigest(digest);
    if (against?.position === position) this.#compareKept();
    const isStored = position % linkEveryPositions === 0 || position === chain.position;
    return isStored ? this.#compare(position) : undefined;
  }

  async #compare(position: number): Promise<void> {
    const stored = await this.#storedLink(position);
    if (stored === undefined) return;
    if (this.#known) this.#counts.links += 1;
    if (this.#known && !this.#link.equals(stored)) {
      const reason = `The events at these positions do not lead to the link that is stored at ${position}`;
      this.#options.breaks.add({ kind: "chain", fromPosition: this.#heldTo, toPosition: position, reason });
    }
    this.#link.reset(stored);
    this.#known = true;
    this.#heldTo = position + 1;
  }

  #compareKept(): void {
    const { against, breaks } = this.#options;
    if (against === undefined) return;
    this.#keptIsOpen = false;
    const { position } = against;
    const known = this.#known && this.#next === position + 1;
    if (known && this.#link.value().toString("hex") === against.link) return;
    const reason = known
      ? "The events up to here are not those that the head which was kept elsewhere stands for"
      : "Whether the events lead to the head that was kept elsewhere cannot be told, because some are lost";
    breaks.add({ kind: "head", fromPosition: position, toPosition: position, reason });
  }

  /** Takes the chain up behind a position that was lost, from the link that is stored of it. */
  async #resume(position: number): Promise<void> {
    const { chain } = this.#options;
    if (chain === undefined || position < chain.fromPosition) return;
    const stored = await this.#storedLink(position);
    if (stored === undefined) return;
    this.#link.reset(stored);
    this.#known = true;
    this.#heldTo = position + 1;
  }

  async #begin(): Promise<void> {
    const { chain, fromPosition } = this.#options;
    if (chain === undefined) return;
    if (fromPosition <= chain.fromPosition) {
      this.#link.reset(firstLink(chain.fromPosition));
      this.#known = true;
      this.#heldTo = chain.fromPosition;
      return;
    }
    await this.#resume(fromPosition - 1);
  }

  async #storedLink(position: number): Promise<Uint8Array | undefined> {
    const { chain, kv } = this.#options;
    if (position === chain?.position) return chain.link;
    const key = chainLinkKey(position);
    try {
      const value = await kv.get(key);
      if (value === undefined) throw new StorageCorruptError("it is missing");
      return decodeChainLink({ key, value });
    } catch (error) {
      if (!(error instanceof StorageCorruptError)) throw error;
      this.#record(key, position, `A link of the chain cannot be used: ${messageOf(error)}`);
      return undefined;
    }
  }

  #record(key: Buffer, position: number, reason: string): void {
    const place = { fromPosition: position, toPosition: position, row: key.toString("hex") };
    this.#options.breaks.add({ kind: "record", ...place, reason });
  }
}

function ascends(events: readonly StoredEvent[], last: number): boolean {
  return (
    events.at(-1)?.position === last && events.every((event, at) => event.position > (events[at - 1]?.position ?? 0))
  );
}

export function messageOf(error: unknown): string {
  if (!(error instanceof StorageCorruptError)) throw error;
  return causeOf(error);
}

/** What the engine says of it, where it is the engine that says it. */
function causeOf(error: StorageCorruptError): string {
  const { cause } = error;
  return cause instanceof Error ? `${error.message} (${cause.message.split("\n")[0]})` : error.message;
}
