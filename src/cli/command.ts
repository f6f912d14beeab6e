/** What a subcommand is: plain data that `--help` shows, and the function that does it. */

import type { Arguments, OptionDescription } from "./arguments.ts";
import type { ExitCode } from "./failure.ts";

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** The arguments that must be there, as `--help` calls them. */
  readonly positionals: readonly string[];
  readonly options: readonly OptionDescription[];
  /** What else must be known, in paragraphs. */
  readonly notes: readonly string[];
  readonly examples: readonly string[];
  run(given: Arguments): Promise<ExitCode>;
}
