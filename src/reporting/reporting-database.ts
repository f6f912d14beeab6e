/**
 * One reporting database, SQLite or PostgreSQL, through Bun's own SQL: opened when first needed and again when it has gone
 * away, with a deadline around everything. Sole importer of Bun's client.
 *
 * SQLite has one connection, on which whatever anybody sends while a transaction is open becomes part of it (measured). So
 * a client that a user brings is used to find the file, and a connection of our own is opened; one in memory is shared.
 */

import { mkdirSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { SQL, type TransactionSQL } from "bun";
import { StorageUnavailableError } from "../errors.ts";
import { withDeadline } from "../runtime/deadline.ts";
import type { ReportingDatabaseOption } from "./define-sql-projection.ts";
import { isDatabaseTrouble, isLock } from "./failures.ts";
import { createRegistry } from "./registry-tables.ts";

export type DatabaseKind = "sqlite" | "postgres";

/** How long a transaction may take before it is given up, and its connection with it. */
export const transactionTimeoutMs = 60_000;
/** How long SQLite waits for another process's transaction; it stands still meanwhile, and so does the event loop. */
const busyTimeoutMs = 100;
/** Connections to one PostgreSQL server: a transaction each for as many projections at a time. */
const connectionsMax = 4;
const connectionTimeoutSeconds = 10;

interface Connection {
  readonly sql: SQL;
  /** Where SQLite's file was when it was opened: a file that is replaced under a connection is written to in vain. */
  readonly file?: { readonly path: string; readonly inode: number };
}

export class ReportingDatabase {
  readonly kind: DatabaseKind;
  /** For messages: without user, password or options. */
  readonly label: string;
  readonly #given: ReportingDatabaseOption;
  #connection: Promise<Connection> | undefined;
  #closed = false;

  constructor(given: ReportingDatabaseOption) {
    this.#given = given;
    this.kind = kindOf(given);
    this.label = labelOf(given);
  }

  /**
   * Runs `work` in a transaction that sees what is committed, and commits it. Rejects with what `work` rejects with, with the
   * database's own error, or with `storage-unavailable` where it does not answer; then the outcome is unknown.
   */
  async transaction<T>(work: (sql: TransactionSQL) => Promise<T>): Promise<T> {
    const connection = await this.#open();
    const mode = this.kind === "sqlite" ? "immediate" : "isolation level read committed";
    let value: { readonly of: T } | undefined;
    const running = connection.sql.begin(mode, async (sql) => {
      value = { of: await work(sql) };
    });
    await this.#inTime(running);
    if (value === undefined) throw new StorageUnavailableError(`${this.label} ended a transaction early`);
    return value.of;
  }

  /** After trouble: forgets a connection of SQLite's that may be broken, so that the next transaction opens another. */
  async afterTrouble(error: unknown): Promise<void> {
    // A lock is nobody's fault, and others use the connection. The pool of PostgreSQL opens new ones by itself.
    if (this.kind === "sqlite" && isDatabaseTrouble(error) && !isLock(error)) await this.#reconnect();
  }

  async #reconnect(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#connection = undefined;
    await connection.then((opened) => this.#release(opened)).catch(() => {});
  }

  /** Closes what was opened here. */
  async close(): Promise<void> {
    this.#closed = true;
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection !== undefined) await connection.then((opened) => this.#release(opened)).catch(() => {});
  }

  async #open(): Promise<Connection> {
    if (this.#closed) throw new StorageUnavailableError(`${this.label} is closed`);
    const current = await this.#connection;
    if (current?.file !== undefined && inodeOf(current.file.path) !== current.file.inode) await this.#reconnect();
    const opening = this.#connection ?? this.#connect();
    this.#connection = opening;
    try {
      return await opening;
    } catch (error) {
      // A client of SQLite that could not open its file never tries again.
      if (this.#connection === opening) this.#connection = undefined;
      throw error;
    }
  }

  async #connect(): Promise<Connection> {
    const connection = this.#client();
    try {
      if (this.kind === "sqlite" && connection.sql !== this.#given)
        for (const pragma of sqlitePragmas) await connection.sql.unsafe(pragma);
      await this.#inTime(createRegistry(connection.sql, this.kind));
    } catch (error) {
      await this.#release(connection).catch(() => {});
      throw error;
    }
    const { path } = connection;
    return path === undefined ? connection : { ...connection, file: { path, inode: inodeOf(path) } };
  }

  #client(): { readonly sql: SQL; readonly path?: string } {
    if (this.kind === "postgres") {
      if (typeof this.#given !== "string") return { sql: this.#given };
      return { sql: new SQL(this.#given, { max: connectionsMax, connectionTimeout: connectionTimeoutSeconds }) };
    }
    const path = sqliteFile(this.#given);
    if (path === ":memory:" && typeof this.#given !== "string") return { sql: this.#given };
    if (path === ":memory:") return { sql: new SQL({ adapter: "sqlite", filename: path }) };
    mkdirSync(dirname(path), { recursive: true });
    return { sql: new SQL({ adapter: "sqlite", filename: path }), path };
  }

  async #release({ sql }: Connection): Promise<void> {
    if (sql !== this.#given) await sql.close({ timeout: 0 });
  }

  async #inTime<T>(work: Promise<T>): Promise<T> {
    try {
      return await withDeadline(work, transactionTimeoutMs, this.label);
    } catch (error) {
      if (!(error instanceof Error) || error.name !== "DeadlineExpired") throw error;
      if (typeof this.#given === "string") this.#abandon();
      throw new StorageUnavailableError(`${this.label} did not answer within ${transactionTimeoutMs} ms`, {
        cause: error,
      });
    }
  }

  /** A transaction that hangs keeps its connection: leave all of them to their end. */
  #abandon(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.then((opened) => this.#release(opened)).catch(() => {});
  }
}

/**
 * Readers beside the writer; and commits that a power cut may take back, rows and checkpoint together, which costs nothing
 * but doing them again.
 */
const sqlitePragmas: readonly string[] = [
  `pragma busy_timeout = ${busyTimeoutMs}`,
  "pragma journal_mode = wal",
  "pragma synchronous = normal",
];

interface Shared {
  readonly database: ReportingDatabase;
  users: number;
}

/** What this process has open: two connections to one file would keep each other out. */
const shared = new Map<unknown, Shared>();

/** The database, shared with others in this process who use it. To be given back by `releaseDatabase`. */
export function useDatabase(given: ReportingDatabaseOption): ReportingDatabase {
  const key = keyOf(given);
  const known = shared.get(key) ?? { database: new ReportingDatabase(given), users: 0 };
  known.users += 1;
  shared.set(key, known);
  return known.database;
}

/** The last user closes what was opened here. */
export async function releaseDatabase(given: ReportingDatabaseOption): Promise<void> {
  const key = keyOf(given);
  const known = shared.get(key);
  if (known === undefined) return;
  known.users -= 1;
  if (known.users > 0) return;
  shared.delete(key);
  await known.database.close();
}

/** What is one database: the same URL, client, or file of SQLite. */
function keyOf(given: ReportingDatabaseOption): unknown {
  if (kindOf(given) === "postgres") return given;
  const path = sqliteFile(given);
  return path === ":memory:" ? given : `sqlite:${resolve(path)}`;
}

function kindOf(given: ReportingDatabaseOption): DatabaseKind {
  if (typeof given === "string") return given.startsWith("sqlite:") ? "sqlite" : "postgres";
  return given.options.adapter === "sqlite" ? "sqlite" : "postgres";
}

/** As Bun reads the URL, which it can only be asked for by opening the file. */
function sqliteFile(given: ReportingDatabaseOption): string {
  if (typeof given === "string") return given.replace(/^sqlite:(\/\/)?/, "").replace(/\?.*$/, "");
  const filename: unknown = Reflect.get(given.options, "filename");
  return filename instanceof URL ? filename.pathname : String(filename);
}

function labelOf(given: ReportingDatabaseOption): string {
  if (kindOf(given) === "sqlite") return `The reporting database ${sqliteFile(given)}`;
  if (typeof given !== "string") return "The reporting database (PostgreSQL)";
  const url = URL.parse(given);
  return url === null ? "The reporting database (PostgreSQL)" : `The reporting database ${url.host}${url.pathname}`;
}

function inodeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.ino ?? -1;
}
