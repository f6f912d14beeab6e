/** The text of `--help`, for the command as a whole and for each of its subcommands. Lines fit 80 columns. */

import type { OptionDescription } from "./arguments.ts";
import type { Command } from "./command.ts";
import { exitCodeTexts } from "./failure.ts";

const columns = 80;

/** Breaks a text into lines that begin with `indent` and fit. */
function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((part) => `${indent}${part}`).join("\n");
}

/** Two columns: a term, and its text wrapped beside it. */
function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([term]) => term.length)) + 2;
  const indent = " ".repeat(2 + width);
  return rows.map(([term, text]) => `  ${term.padEnd(width)}${wrap(text, indent).slice(indent.length)}`).join("\n");
}

function optionTerm({ name, short, value }: OptionDescription): string {
  const long = value === undefined ? `--${name}` : `--${name} ${value}`;
  return short === undefined ? long : `-${short}, ${long}`;
}

function exitCodesText(): string {
  return `Exit codes:\n${table(exitCodeTexts.map(([code, text]) => [String(code), text] as const))}`;
}

function examplesText(examples: readonly string[]): string {
  return `${examples.length === 1 ? "Example" : "Examples"}:\n${examples.map((line) => `  ${line}`).join("\n")}`;
}

export function commandHelp(command: Command): string {
  const { name, summary, positionals, options, notes, examples } = command;
  return `${[
    wrap(`${summary}.`, ""),
    `Usage: ${["strata", name, ...positionals, "[options]"].join(" ")}`,
    `Options:\n${table(options.map((option) => [optionTerm(option), option.text] as const))}`,
    ...notes.map((note) => wrap(note, "")),
    exitCodesText(),
    examplesText(examples),
  ].join("\n\n")}\n`;
}

export function overallHelp(commands: readonly Command[]): string {
  return `${[
    "Strata is an event store on object storage; this is its command line.",
    "Usage: strata COMMAND [options]\n       strata COMMAND --help\n       strata --version",
    `Commands:\n${table(commands.map(({ name, summary }) => [name, summary] as const))}`,
    `Options:\n${table([
      ["-h, --help", "this text, or that of the command"],
      ["--version", "the version of Strata"],
    ])}`,
    `Environment:\n${table([
      ["STRATA_URL", "the store, where --url is not given"],
      ["STRATA_MASTER_KEY", "the master key of encrypted personal fields, as base64 text"],
      ["STRATA_DEBUG=1", "show the stack trace of a failure"],
      ["AWS_*", "credentials, region and endpoint of s3: stores"],
    ])}`,
    exitCodesText(),
    examplesText([
      "strata import events.jsonl.gz --url file:.data/shop",
      "strata read order-42 --url s3://bucket/shop",
    ]),
  ].join("\n\n")}\n`;
}
