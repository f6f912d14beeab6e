/**
 * What handlers write through, for one transaction: the transaction itself, with rows of `insert` collected and written many
 * at a time, always before the next statement and before the commit. Statements go out in the order they were made.
 */

import type { TransactionSQL } from "bun";
import { InvalidArgumentError, printable } from "../errors.ts";
import { ownName } from "./build-tables.ts";
import type { SqlHandlerContext, SqlName } from "./define-sql-projection.ts";
import type { DatabaseKind } from "./reporting-database.ts";

/** The most rows in one statement, and the most values: PostgreSQL takes 65,535, an old SQLite 32,766. */
const rowsMax = 512;
const valuesMax = 30_000;
/** The most rows that are held back. */
const collectedMax = 4_096;

interface Collected {
  readonly table: string;
  readonly columns: readonly string[];
  readonly rows: Readonly<Record<string, unknown>>[];
}

export class HandlerSession {
  readonly context: SqlHandlerContext;
  /** The transaction as handlers get it. */
  readonly sql: TransactionSQL;
  readonly #transaction: TransactionSQL;
  readonly #kind: DatabaseKind;
  readonly #names = new Map<string, SqlName>();
  readonly #build: number;
  /** By table and columns, in the order in which each came first. */
  readonly #collected = new Map<string, Collected>();
  #count = 0;
  #written: Promise<unknown>[] = [];

  constructor(transaction: TransactionSQL, kind: DatabaseKind, build: number) {
    this.#transaction = transaction;
    this.#kind = kind;
    this.#build = build;
    this.sql = this.#guarded();
    this.context = {
      table: (name) => this.#name(name),
      insert: (table, row) => this.#insert(table, row),
    };
  }

  /** Sends what is collected. Its failures come out of `settle`. */
  flush(): void {
    if (this.#count === 0) return;
    const groups = [...this.#collected.values()];
    this.#collected.clear();
    this.#count = 0;
    for (const group of groups) this.#write(group);
  }

  /** Resolves when all that was flushed is written. */
  async settle(): Promise<void> {
    this.flush();
    const written = this.#written;
    this.#written = [];
    await Promise.all(written);
  }

  #name(name: string): SqlName {
    let quoted = this.#names.get(name);
    if (quoted === undefined) {
      quoted = this.#transaction(ownName(name, this.#build));
      this.#names.set(name, quoted);
    }
    return quoted;
  }

  #insert(table: string, row: Readonly<Record<string, unknown>>): void {
    if (typeof row !== "object" || row === null)
      throw new InvalidArgumentError("row", `must be an object of columns, not ${printable(row)}`);
    const columns = Object.keys(row);
    if (columns.length === 0) throw new InvalidArgumentError("row", "must have at least one column");
    const key = `${table}\0${columns.join("\0")}`;
    let group = this.#collected.get(key);
    if (group === undefined) {
      this.#name(table);
      group = { table, columns, rows: [] };
      this.#collected.set(key, group);
    }
    group.rows.push(this.#kind === "sqlite" ? withoutDates(row) : row);
    this.#count += 1;
    if (this.#count >= collectedMax) this.flush();
  }

  /** In powers of two, so that there are few different statements to prepare. */
  #write({ table, columns, rows }: Collected): void {
    const most = Math.min(rowsMax, 2 ** Math.floor(Math.log2(Math.max(1, valuesMax / columns.length))));
    const sql = this.#transaction;
    for (let start = 0; start < rows.length; ) {
      const size = Math.min(most, 2 ** Math.floor(Math.log2(rows.length - start)));
      // Columns are named, because without names those of the first row are taken for all (measured).
      const values = sql(rows.slice(start, start + size), ...columns);
      const writing = sql`insert into ${this.#name(table)} ${values}`.execute();
      writing.catch(() => {});
      this.#written.push(writing);
      start += size;
    }
  }

  #guarded(): TransactionSQL {
    const flush = (): void => this.flush();
    const convert = this.#kind === "sqlite";
    return new Proxy(this.#transaction, {
      apply: (target, _self, values: unknown[]) => {
        const isStatement = Array.isArray(values[0]) && Object.hasOwn(values[0], "raw");
        if (isStatement) flush();
        return Reflect.apply(target, undefined, isStatement && convert ? values.map(withoutDate) : values);
      },
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== "function") return value;
        return (...values: unknown[]) => {
          flush();
          return Reflect.apply(value, target, values);
        };
      },
    });
  }
}

/** SQLite knows no dates: they become text that sorts as they do. */
function withoutDate(value: unknown): unknown {
  return value instanceof Date ? value.toISOString() : value;
}

function withoutDates(row: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  for (const value of Object.values(row)) {
    if (value instanceof Date)
      return Object.fromEntries(Object.entries(row).map(([column, one]) => [column, withoutDate(one)]));
  }
  return row;
}
