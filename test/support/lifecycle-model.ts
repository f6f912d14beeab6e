/** The trivial model of the life of streams: what was appended, what is hidden, and what a pass drops. Lists and plain rules. */

export interface LifecycleEvent {
  readonly streamName: string;
  readonly version: number;
  readonly position: number;
  readonly recordedAtMs: number;
  dropped: boolean;
}

interface ModelStream {
  readonly events: LifecycleEvent[];
  truncatedBefore: number;
  archivedBefore: number;
  deletedAtMs: number | undefined;
  purged: boolean;
}

export interface ModelRule {
  readonly maxAgeMs?: number;
  readonly maxCount?: number;
}

export class LifecycleModel {
  readonly events: LifecycleEvent[] = [];
  readonly streams: Map<string, ModelStream> = new Map();
  readonly rules: Map<string, ModelRule> = new Map();
  readonly #graceMs: number;

  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  /** Answers what the store is to say: `true`, or the code of the error. */
  append(streamName: string, count: number, nowMs: number): true | string {
    const stream = this.#stream(streamName);
    if (stream.deletedAtMs !== undefined) return "stream-deleted";
    for (let left = count; left > 0; left -= 1) this.#record(streamName, stream, nowMs);
    stream.truncatedBefore = Math.max(stream.truncatedBefore, this.#keptByCount(streamName, stream));
    return true;
  }

  truncate(streamName: string, beforeVersion: number, nowMs: number): true | string {
    const stream = this.streams.get(streamName);
    if (stream === undefined) return "invalid-argument";
    if (stream.deletedAtMs !== undefined) return "stream-deleted";
    if (beforeVersion > stream.events.length + 1) return "invalid-argument";
    if (beforeVersion <= stream.truncatedBefore) return true;
    stream.truncatedBefore = beforeVersion;
    return this.#told(nowMs);
  }

  delete(streamName: string, nowMs: number): true | string {
    const stream = this.streams.get(streamName);
    if (stream === undefined) return "invalid-argument";
    if (stream.deletedAtMs !== undefined) return true;
    stream.deletedAtMs = nowMs;
    return this.#told(nowMs);
  }

  undelete(streamName: string, nowMs: number): true | string {
    const stream = this.streams.get(streamName);
    if (stream === undefined) return "invalid-argument";
    if (stream.deletedAtMs === undefined) return true;
    if (stream.purged || stream.deletedAtMs + this.#graceMs <= nowMs) return "stream-deleted";
    stream.deletedAtMs = undefined;
    return this.#told(nowMs);
  }

  archive(streamName: string, beforeVersion: number, nowMs: number): true | string {
    const stream = this.streams.get(streamName);
    if (stream === undefined) return "invalid-argument";
    if (stream.deletedAtMs !== undefined) return "stream-deleted";
    if (beforeVersion > stream.events.length + 1) return "invalid-argument";
    const kept = this.#keptByCount(streamName, stream);
    const next = Math.max(stream.truncatedBefore, stream.archivedBefore);
    if (Math.max(next, kept) >= beforeVersion) return true;
    if (kept > next) stream.truncatedBefore = kept;
    stream.archivedBefore = beforeVersion;
    return this.#told(nowMs);
  }

  setRetention(name: string, rule: ModelRule | undefined, nowMs: number): true {
    const before = this.rules.get(name);
    if (before?.maxAgeMs === rule?.maxAgeMs && before?.maxCount === rule?.maxCount) return true;
    if (rule === undefined) this.rules.delete(name);
    else this.rules.set(name, rule);
    return this.#told(nowMs);
  }

  /** A pass to the end: answers how many events it drops. */
  compact(nowMs: number): number {
    let dropped = 0;
    for (const [streamName, stream] of this.streams) {
      const { deletedAtMs, events } = stream;
      if (deletedAtMs !== undefined && deletedAtMs + this.#graceMs <= nowMs) stream.purged = true;
      const { maxAgeMs } = this.#ruleFor(streamName) ?? {};
      // The rule of a category finds events in the log; the stream's own looks into the archive, too.
      const found =
        this.rules.has(streamName) && streamName.includes("-") ? events : events.filter((one) => !one.dropped);
      const isOld = (one: LifecycleEvent): boolean => maxAgeMs !== undefined && one.recordedAtMs <= nowMs - maxAgeMs;
      const old = found.filter(isOld).at(-1)?.version ?? 0;
      const kept = this.#keptByCount(streamName, stream);
      if (!stream.purged) stream.truncatedBefore = Math.max(stream.truncatedBefore, kept, old + 1);
      for (const event of events) {
        const goes = stream.purged || event.version < Math.max(stream.truncatedBefore, stream.archivedBefore);
        if (goes && !event.dropped) dropped += 1;
        event.dropped ||= goes;
      }
    }
    return dropped;
  }

  /** The versions that a reader sees; `undefined` where the stream is deleted. */
  read(streamName: string): readonly number[] | undefined {
    const stream = this.streams.get(streamName);
    if (stream === undefined) return [];
    if (stream.deletedAtMs !== undefined) return undefined;
    const from = Math.max(stream.truncatedBefore, this.#keptByCount(streamName, stream));
    return stream.events.filter(({ version }) => version >= from).map(({ version }) => version);
  }

  /** The positions that a reader of the log sees. */
  log(): readonly number[] {
    return this.events.filter(({ dropped }) => !dropped).map(({ position }) => position);
  }

  #ruleFor(streamName: string): ModelRule | undefined {
    return this.rules.get(streamName) ?? this.rules.get(streamName.split("-")[0] ?? "");
  }

  #keptByCount(streamName: string, { events }: ModelStream): number {
    const { maxCount } = this.#ruleFor(streamName) ?? {};
    return maxCount === undefined ? 1 : Math.max(1, events.length - maxCount + 1);
  }

  #stream(streamName: string): ModelStream {
    const known = this.streams.get(streamName);
    if (known !== undefined) return known;
    const stream = { events: [], truncatedBefore: 1, archivedBefore: 1, deletedAtMs: undefined, purged: false };
    this.streams.set(streamName, stream);
    return stream;
  }

  #record(streamName: string, stream: ModelStream, recordedAtMs: number): void {
    const version = stream.events.length + 1;
    const event = { streamName, version, position: this.events.length + 1, recordedAtMs, dropped: false };
    stream.events.push(event);
    this.events.push(event);
  }

  /** What is done to a stream is an event of the store's own. */
  #told(nowMs: number): true {
    this.#record("$strata-lifecycle", this.#stream("$strata-lifecycle"), nowMs);
    return true;
  }
}
