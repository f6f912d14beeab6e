/**
 * The command line as a command sees it. Nothing is guessed: an option that is unknown, given twice, without its value or
 * with one that makes no sense is a usage error, and says what was probably meant.
 */

import { parseArgs } from "node:util";
import { printable } from "../errors.ts";
import { usageFailure } from "./failure.ts";
import { nearest } from "./nearest.ts";

/** An option; without `value` it is a flag. */
export interface OptionDescription {
  readonly name: string;
  readonly short?: string;
  /** What `--help` calls its value, as in `FILE`. */
  readonly value?: string;
  /** It may be given several times. */
  readonly repeats?: boolean;
  readonly text: string;
}

export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(positionals: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.positionals = positionals;
    this.#values = values;
  }

  flag(name: string): boolean {
    return this.#values.has(name);
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.[0];
  }

  /** All values of an option that repeats. */
  texts(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  integer(name: string, least: number, most: number = Number.MAX_SAFE_INTEGER): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `from ${least}` : `from ${least} to ${most}`;
    throw usageFailure(`--${name} must be an integer ${range}, not ${printable(text)}`);
  }
}

interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

function optionValue(token: OptionToken, option: OptionDescription): string {
  if (option.value === undefined) {
    if (token.value !== undefined) throw usageFailure(`--${option.name} takes no value`);
    return "";
  }
  // What looks like the next option is not a value, unless "=" says that it is.
  const missing = token.value === undefined || (token.inlineValue !== true && token.value.startsWith("--"));
  if (missing || token.value === undefined || token.value === "") {
    throw usageFailure(`--${option.name} needs a value: --${option.name} ${option.value}`);
  }
  return token.value;
}

function unknownOption(token: OptionToken, options: readonly OptionDescription[]): Error {
  const guess = nearest(
    token.name,
    options.map((option) => option.name),
  );
  const hint = guess === undefined ? "see --help" : `did you mean --${guess}?`;
  return usageFailure(`There is no option ${token.rawName}: ${hint}`);
}

/** Reads the words after the command's name. `positionals`: what `--help` calls those that must be there. */
export function parseArguments(
  words: readonly string[],
  options: readonly OptionDescription[],
  positionals: readonly string[],
): Arguments {
  const described = options.map(({ name, short, value }) => {
    const type = value === undefined ? ("boolean" as const) : ("string" as const);
    return [name, short === undefined ? { type } : { type, short }] as const;
  });
  const { tokens, positionals: given } = parseArgs({
    args: [...words],
    options: Object.fromEntries(described),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const option = options.find(({ name }) => name === token.name);
    if (option === undefined) throw unknownOption(token, options);
    const known = values.get(option.name) ?? [];
    if (known.length > 0 && option.repeats !== true) throw usageFailure(`--${option.name} is given twice`);
    values.set(option.name, [...known, optionValue(token, option)]);
  }
  if (!values.has("help")) checkPositionals(given, positionals);
  return new Arguments(given, values);
}

function checkPositionals(given: readonly string[], wanted: readonly string[]): void {
  const missing = wanted[given.length];
  if (missing !== undefined) throw usageFailure(`${missing} is missing: see --help`);
  const surplus = given[wanted.length];
  if (surplus !== undefined) throw usageFailure(`There is an argument too many: ${printable(surplus)}`);
  const empty = given.indexOf("");
  if (empty >= 0) throw usageFailure(`${wanted[empty]} must not be empty`);
}
