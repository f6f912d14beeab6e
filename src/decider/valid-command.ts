/** Checks a command before anything is read: its shape, its type, and its data by the decider's schema. */

import { InvalidArgumentError, InvalidCommandError, printable } from "../errors.ts";
import { checkBySchema } from "../schema/check-by-schema.ts";
import type { AnyDecider, Command } from "./define-decider.ts";

/** The command with its data as the schema gives it. Throws `invalid-command` by path, `invalid-argument` for what is none. */
export function validCommand(decider: AnyDecider, command: unknown): Command {
  if (typeof command !== "object" || command === null) {
    throw new InvalidArgumentError("command", `must be { type, data }, not ${printable(command)}`, {
      outcome: "not-applied",
    });
  }
  const { type, data, ...rest } = command as Record<string, unknown>;
  const [other] = Object.keys(rest);
  if (other !== undefined)
    throw new InvalidArgumentError(`command.${other}`, "is not a part of a command (type, data)", {
      outcome: "not-applied",
    });
  const schema = typeof type === "string" && Object.hasOwn(decider.commands, type) ? decider.commands[type] : undefined;
  if (typeof type !== "string" || schema === undefined) {
    const message = `is not a command of ${printable(decider.name)}`;
    throw new InvalidCommandError(typeof type === "string" ? type : printable(type), [{ path: "type", message }]);
  }
  const checked = checkBySchema(schema, data, "data", `${decider.name}.commands.${type}`);
  if ("issues" in checked) throw new InvalidCommandError(type, checked.issues);
  return { type, data: checked.value };
}
