#!/usr/bin/env bun
/** The `strata` command: finds the subcommand, runs it, and turns whatever happens into one sentence and an exit code. */

import { version } from "../../package.json";
import { printable } from "../errors.ts";
import { archiveCommand } from "./archive.ts";
import { parseArguments } from "./arguments.ts";
import { backupCommand, restoreCommand } from "./backup.ts";
import { blameCommand } from "./blame.ts";
import type { Command } from "./command.ts";
import { compactCommand } from "./compact.ts";
import { costCommand } from "./cost.ts";
import { deleteCommand } from "./delete.ts";
import { diffCommand } from "./diff.ts";
import { exportCommand } from "./export.ts";
import { type ExitCode, exitCodeOf, exitCodes, firstError, OutputClosed, sentenceOf, usageFailure } from "./failure.ts";
import { forgetCommand } from "./forget.ts";
import { commandHelp, overallHelp } from "./help.ts";
import { importCommand } from "./import.ts";
import { logCommand } from "./log.ts";
import { nearest } from "./nearest.ts";
import { standardOutput } from "./output.ts";
import { readCommand } from "./read.ts";
import { retentionCommand } from "./retention.ts";
import { rotateKeysCommand } from "./rotate-keys.ts";
import { statsCommand } from "./stats.ts";
import { streamsCommand } from "./streams.ts";
import { traceCommand } from "./trace.ts";
import { truncateCommand } from "./truncate.ts";
import { undeleteCommand } from "./undelete.ts";
import { verifyCommand } from "./verify.ts";
import { writerCommand } from "./writer.ts";

const commands: readonly Command[] = [
  importCommand,
  exportCommand,
  readCommand,
  streamsCommand,
  logCommand,
  diffCommand,
  blameCommand,
  traceCommand,
  statsCommand,
  verifyCommand,
  backupCommand,
  restoreCommand,
  writerCommand,
  costCommand,
  compactCommand,
  retentionCommand,
  truncateCommand,
  deleteCommand,
  undeleteCommand,
  archiveCommand,
  forgetCommand,
  rotateKeysCommand,
];

function findCommand(name: string): Command {
  const found = commands.find((command) => command.name === name);
  if (found !== undefined) return found;
  const guess = nearest(
    name,
    commands.map((command) => command.name),
  );
  const hint = guess === undefined ? "see strata --help" : `did you mean ${guess}?`;
  throw usageFailure(`There is no command ${printable(name)}: ${hint}`);
}

async function print(text: string): Promise<ExitCode> {
  const output = standardOutput();
  await output.write(text);
  await output.close();
  return exitCodes.ok;
}

async function run(words: readonly string[]): Promise<ExitCode> {
  const [first, ...rest] = words;
  if (first === undefined) throw usageFailure("A command is missing: see strata --help");
  if (first === "--version") return await print(`${version}\n`);
  if (first === "--help" || first === "-h") return await print(overallHelp(commands));
  if (first === "help") {
    return await print(rest[0] === undefined ? overallHelp(commands) : commandHelp(findCommand(rest[0])));
  }
  if (first.startsWith("-")) throw usageFailure(`There is no option ${first} before a command: see strata --help`);
  const command = findCommand(first);
  const given = parseArguments(rest, command.options, command.positionals);
  return given.flag("help") ? await print(commandHelp(command)) : await command.run(given);
}

async function main(): Promise<void> {
  try {
    process.exitCode = await run(process.argv.slice(2));
  } catch (thrown) {
    const error = firstError(thrown);
    process.exitCode = exitCodeOf(error);
    if (error instanceof OutputClosed) return;
    await complain(`strata: ${sentenceOf(error)}\n`);
    if (process.env.STRATA_DEBUG === "1") await complain(`${Bun.inspect(error)}\n`);
  }
}

async function complain(text: string): Promise<void> {
  await new Promise<void>((resolve) => process.stderr.write(text, () => resolve()));
}

await main();
// What was written is out, and stores are closed. A call of the engine that is never answered would keep the process for ever.
process.exit();
