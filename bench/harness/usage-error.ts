/** What a person got wrong on the command line: told in one line, exit code 2. */

export class UsageError extends Error {
  override readonly name = "UsageError";
}
