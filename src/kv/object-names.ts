/** Names of objects: parts of plain characters with slashes between, so that each is one key of S3 and one file of a folder. */

import { InvalidArgumentError, printable } from "../errors.ts";

const nameLengthMax = 512;

/** Throws `invalid-argument` for what is no name. A part does not begin with a dot: those are the folder's own files. */
export function checkObjectName(name: string): string {
  if (name.length > nameLengthMax || !/^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/.test(name)) {
    const problem = `must be at most ${nameLengthMax} of a-z, A-Z, 0-9, "_", "-", and "." and "/" between them`;
    throw new InvalidArgumentError("name", `${problem}, not ${printable(name)}`);
  }
  return name;
}
