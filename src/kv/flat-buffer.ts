/**
 * Reads FlatBuffers, as far as the engine's own records need it: tables, vectors of tables, bytes and numbers, by slot. Each access
 * stays within the bytes, whatever they hold: where they point elsewhere they are damaged, and it throws `DamagedBuffer`.
 */

export class DamagedBuffer extends Error {
  override readonly name = "DamagedBuffer";
}

/** One table; a slot is the place of a field in its schema, from 0. A field that is not there is zero, empty or `undefined`. */
export class FlatTable {
  readonly #view: DataView;
  readonly #at: number;
  readonly #slots: number;
  readonly #slotCount: number;

  private constructor(view: DataView, at: number) {
    this.#view = view;
    this.#at = at;
    this.#slots = at - within(view, at, 4).getInt32(at, true);
    const length = within(view, this.#slots, 2).getUint16(this.#slots, true);
    within(view, this.#slots, length);
    this.#slotCount = Math.max(0, (length - 4) >> 1);
  }

  /** The table that the buffer is about. */
  static root(bytes: Uint8Array): FlatTable {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new FlatTable(view, within(view, 0, 4).getUint32(0, true));
  }

  byte(slot: number): number {
    const at = this.#field(slot, 1);
    return at === undefined ? 0 : this.#view.getUint8(at);
  }

  /** An unsigned number of 64 bits. */
  long(slot: number): bigint {
    const at = this.#field(slot, 8);
    return at === undefined ? 0n : this.#view.getBigUint64(at, true);
  }

  /** As `long`, for what counts or measures something: more than fits a number is damage. */
  count(slot: number): number {
    const value = this.long(slot);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new DamagedBuffer(`a count of ${value}`);
    return Number(value);
  }

  table(slot: number): FlatTable | undefined {
    const at = this.#target(slot);
    return at === undefined ? undefined : new FlatTable(this.#view, at);
  }

  tables(slot: number): readonly FlatTable[] {
    const vector = this.#vector(slot, 4);
    if (vector === undefined) return [];
    return Array.from({ length: vector.length }, (_, index) => {
      const at = vector.at + 4 * index;
      return new FlatTable(this.#view, at + this.#view.getUint32(at, true));
    });
  }

  bytes(slot: number): Uint8Array | undefined {
    const vector = this.#vector(slot, 1);
    if (vector === undefined) return undefined;
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + vector.at, vector.length);
  }

  /** Where the field is, with so many bytes of it there. */
  #field(slot: number, size: number): number | undefined {
    if (slot >= this.#slotCount) return undefined;
    const offset = this.#view.getUint16(this.#slots + 4 + 2 * slot, true);
    if (offset === 0) return undefined;
    within(this.#view, this.#at + offset, size);
    return this.#at + offset;
  }

  #target(slot: number): number | undefined {
    const at = this.#field(slot, 4);
    return at === undefined ? undefined : at + this.#view.getUint32(at, true);
  }

  #vector(slot: number, itemBytes: number): { readonly at: number; readonly length: number } | undefined {
    const at = this.#target(slot);
    if (at === undefined) return undefined;
    const length = within(this.#view, at, 4).getUint32(at, true);
    within(this.#view, at + 4, length * itemBytes);
    return { at: at + 4, length };
  }
}

function within(view: DataView, at: number, length: number): DataView {
  if (at < 0 || at + length > view.byteLength)
    throw new DamagedBuffer(`${length} bytes at ${at} of ${view.byteLength}`);
  return view;
}
