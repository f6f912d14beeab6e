/**
 * Cuts a byte stream of HTTP/1.1 into whole messages, by length, chunks or the end of the connection, and leaves their bytes
 * alone: what a proxy passes on must be what was signed. It knows no more of HTTP than where a message ends.
 */

/** The most bytes of one message; a table of the engine has up to 64 MiB. */
const messageBytesMax = 512 * 1024 * 1024;

export interface HttpMessage {
  /** Exactly as received: head, blank line, body. */
  readonly bytes: Buffer;
  /** Where the body begins. */
  readonly bodyFrom: number;
  /** The request line or the status line. */
  readonly startLine: string;
  /** By lower-case name; of several lines of one name the last. */
  readonly headers: ReadonlyMap<string, string>;
}

interface Head {
  readonly startLine: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly bodyFrom: number;
}

function parseHead(bytes: Buffer): Head | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [startLine = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { startLine, headers, bodyFrom: end + 4 };
}

/** Where a chunked body ends that begins at `from`, or `undefined` while it is not all there. */
function chunkedEnd(bytes: Buffer, from: number): number | undefined {
  let at = from;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error("A chunk without a size");
    if (size > 0) {
      at = lineEnd + 2 + size + 2;
      if (at > bytes.length) return undefined;
      continue;
    }
    // After the last chunk: trailers, each a line, and a blank one.
    const end = bytes.indexOf("\r\n\r\n", lineEnd);
    return end < 0 ? undefined : end + 4;
  }
}

/** Takes chunks and hands out messages. `untilClose`: a message without a length ends with the connection (answers only). */
export class HttpFraming {
  readonly #untilClose: boolean;
  #chunks: Buffer[] = [];
  #length = 0;
  #neededBytes = 0;
  #head: Head | undefined;

  constructor(options: { readonly untilClose: boolean }) {
    this.#untilClose = options.untilClose;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length > messageBytesMax) throw new Error(`A message has more than ${messageBytesMax} bytes`);
  }

  /** The head of the message that is arriving, as soon as it is there. */
  head(): Head | undefined {
    if (this.#head === undefined && this.#length > 0) this.#head = parseHead(this.#all());
    return this.#head;
  }

  /**
   * The next whole message, or `undefined` while it is not all there. `hasBody`: false for a HEAD's answer, which has none
   * though its head tells a length. `ended`: no more chunks will come.
   */
  next(hasBody: boolean, ended = false): HttpMessage | undefined {
    if (this.#length < this.#neededBytes && !ended) return undefined;
    const head = this.head();
    if (head === undefined) return undefined;
    const end = this.#endOf(head, hasBody, ended);
    if (end === undefined) return undefined;
    const all = this.#all();
    if (end > all.length) return undefined;
    const rest = all.subarray(end);
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#length = rest.length;
    this.#head = undefined;
    this.#neededBytes = 0;
    return { ...head, bytes: all.subarray(0, end) };
  }

  #endOf({ headers, startLine, bodyFrom }: Head, hasBody: boolean, ended: boolean): number | undefined {
    if (!hasBody || / (?:1\d\d|204|304) /.test(`${startLine} `)) return bodyFrom;
    if (headers.get("transfer-encoding")?.includes("chunked") === true) return chunkedEnd(this.#all(), bodyFrom);
    const length = headers.get("content-length");
    if (length !== undefined) {
      this.#neededBytes = bodyFrom + Number(length);
      return this.#neededBytes;
    }
    if (!this.#untilClose) return bodyFrom;
    return ended ? this.#length : undefined;
  }

  #all(): Buffer {
    const [only] = this.#chunks;
    if (only !== undefined && this.#chunks.length === 1) return only;
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [all];
    return all;
  }
}
