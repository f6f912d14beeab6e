/**
 * A real PostgreSQL server for tests: finds the binaries, makes a cluster in a folder of its own, starts it on loopback, stops
 * it by its id. The binaries' folder is named by STRATA_POSTGRES_BIN, or is that of the newest version of the distribution. The
 * server refuses to run as root, so under root it runs as the user `postgres` (or `nobody`). In CI a missing one fails.
 */

import { chownSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import { freePort } from "./free-port.ts";

const distribution = "/usr/lib/postgresql";

function findBinaries(): string | undefined {
  const named = process.env.STRATA_POSTGRES_BIN;
  if (named !== undefined && named !== "" && existsSync(join(named, "postgres"))) return named;
  if (!existsSync(distribution)) return undefined;
  const versions = readdirSync(distribution).sort((one, other) => Number(other) - Number(one));
  return versions.map((version) => join(distribution, version, "bin")).find((path) => existsSync(join(path, "initdb")));
}

const binaries: string | undefined = findBinaries();

/** Whether there is one. */
export const postgresInstalled: boolean = binaries !== undefined;

/** Whether tests on PostgreSQL can run; for `describe.skipIf`. Always true in CI, where they then fail if there is none. */
export const postgresAvailable: boolean = postgresInstalled || process.env.CI === "true";

const startTimeoutMs = 30_000;
const user = "strata";

export interface Postgres extends AsyncDisposable {
  /** Of the database that is always there. */
  readonly url: string;
  /** Makes a database of a name that was not there before, and answers its URL. */
  createDatabase(): Promise<string>;
  /** SIGKILL: as a crash of the server would. */
  kill(): Promise<void>;
  /** After `kill`. */
  start(): Promise<void>;
}

/** Whom the server runs as: another user than root. */
function account(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const fields = accounts.find((line) => line.startsWith(`${name}:`))?.split(":");
    if (fields !== undefined) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error("PostgreSQL cannot run as root, and there is no user postgres or nobody");
}

async function waitUntilReady(url: string, exited: Promise<number>): Promise<void> {
  const ended = exited.then((code) => {
    throw new Error(`PostgreSQL ended with code ${code} before it was ready`);
  });
  ended.catch(() => {});
  const deadline = performance.now() + startTimeoutMs;
  while (performance.now() < deadline) {
    const sql = new SQL(url, { max: 1 });
    const asking = sql`select 1`.then(
      () => true,
      () => false,
    );
    const ready = await Promise.race([asking, ended]).finally(() => sql.close({ timeout: 0 }));
    if (ready) return;
    await Bun.sleep(50);
  }
  throw new Error(`PostgreSQL was not ready within ${startTimeoutMs} ms`);
}

/** Starts a server; `await using` stops it and removes its folder. */
export async function startPostgres(): Promise<Postgres> {
  if (binaries === undefined)
    throw new Error("There is no PostgreSQL: name its binaries' folder in STRATA_POSTGRES_BIN");
  const bin = binaries;
  const folder = await mkdtemp(join(tmpdir(), "strata-postgres-"));
  const as = account();
  if (as !== undefined) chownSync(folder, as.uid, as.gid);
  await chmod(folder, 0o700);
  const data = join(folder, "data");
  const spawning = { cwd: folder, env: { PATH: process.env.PATH ?? "", LC_ALL: "C" }, stdin: "ignore", ...as } as const;
  const port = await freePort();
  const url = `postgres://${user}@127.0.0.1:${port}/postgres`;
  const command = [join(bin, "postgres"), "-D", data, "-h", "127.0.0.1", "-p", String(port), "-k", ""];
  let server: Bun.Subprocess | undefined;
  let watchdog: Bun.Subprocess | undefined;
  const start = async (): Promise<void> => {
    server = Bun.spawn(command, { ...spawning, stdout: "ignore", stderr: "ignore" });
    // Ends the server when this process is gone, however it went: then there is nothing left to read.
    const watch = 'read -r _; kill -QUIT "$0"; sleep 1; kill -9 "$0"; rm -rf "$1"';
    watchdog = Bun.spawn(["sh", "-c", watch, String(server.pid), folder], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
    });
    await waitUntilReady(url, server.exited);
  };
  const kill = async (signal: "SIGKILL" | "SIGQUIT"): Promise<void> => {
    watchdog?.kill("SIGKILL");
    server?.kill(signal);
    await Promise.all([watchdog?.exited, server?.exited]);
  };
  const stop = async (): Promise<void> => {
    await kill("SIGQUIT");
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const making = [join(bin, "initdb"), "-D", data, "-U", user, "-A", "trust", "-E", "UTF8", "--no-sync"];
    const made = Bun.spawn(making, { ...spawning, stdout: "ignore", stderr: "pipe" });
    if ((await made.exited) !== 0) throw new Error(`initdb failed: ${await made.stderr.text()}`);
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  let databases = 0;
  return {
    url,
    createDatabase: async () => {
      databases += 1;
      const name = `reports_${databases}`;
      const sql = new SQL(url, { max: 1 });
      await sql.unsafe(`create database ${name}`);
      await sql.close();
      return url.replace(/postgres$/, name);
    },
    kill: async () => await kill("SIGKILL"),
    start,
    [Symbol.asyncDispose]: stop,
  };
}
