/** Bytes as they come, cut into numbered lines of text. A line is bounded: one that is longer is never held in memory. */

import { isUtf8 } from "node:buffer";

/** The most bytes of one line. */
export const lineBytesMax: number = 16 * 1024 * 1024;

const newline = 0x0a;
const byteOrderMark = "\ufeff";

export interface TextLine {
  /** From 1. */
  readonly number: number;
  /** Absent where the line cannot be read; then `problem` says why. */
  readonly text?: string;
  readonly problem?: string;
}

class LineCutter {
  #number = 0;
  /** The beginning of a line whose end has not come yet. */
  #started: Buffer[] = [];
  #startedBytes = 0;
  readonly #bytesMax: number;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The lines that end in this piece; blank ones are left out, but counted. */
  cut(piece: Buffer): TextLine[] {
    const lines: TextLine[] = [];
    let from = 0;
    for (let end = piece.indexOf(newline); end >= 0; end = piece.indexOf(newline, from)) {
      this.#end(piece.subarray(from, end), lines);
      from = end + 1;
    }
    if (from < piece.length) this.#hold(piece.subarray(from));
    return lines;
  }

  /** The last line, where no newline ends it. */
  finish(): TextLine[] {
    const lines: TextLine[] = [];
    if (this.#startedBytes > 0) this.#end(Buffer.alloc(0), lines);
    return lines;
  }

  #hold(part: Buffer): void {
    this.#startedBytes += part.length;
    if (this.#startedBytes > this.#bytesMax) this.#started = [];
    else this.#started.push(part);
  }

  #end(rest: Buffer, lines: TextLine[]): void {
    this.#number += 1;
    const bytes = this.#startedBytes + rest.length;
    const whole = this.#startedBytes === 0 ? rest : Buffer.concat([...this.#started, rest]);
    this.#started = [];
    this.#startedBytes = 0;
    if (bytes > this.#bytesMax) {
      lines.push({ number: this.#number, problem: `longer than ${this.#bytesMax} bytes` });
    } else if (!isUtf8(whole)) {
      lines.push({ number: this.#number, problem: "not UTF-8" });
    } else {
      const text = whole.toString("utf8");
      const line = this.#number === 1 && text.startsWith(byteOrderMark) ? text.slice(1) : text;
      if (line.trim() !== "") lines.push({ number: this.#number, text: line });
    }
  }
}

/** The lines, in lists as they become complete. */
export async function* linesOf(
  pieces: AsyncIterable<Buffer>,
  bytesMax: number = lineBytesMax,
): AsyncGenerator<readonly TextLine[]> {
  const cutter = new LineCutter(bytesMax);
  for await (const piece of pieces) yield cutter.cut(piece);
  yield cutter.finish();
}
