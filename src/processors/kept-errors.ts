/**
 * What is kept of an error, in rows that outlive it. A message may quote what it is about: where that has personal data it must
 * not be kept, because `forget` does not come by these rows.
 */

/** The most of an error's message that is kept. */
const messageLengthMax = 2_000;
/** How many causes are told of. */
const causesMax = 4;
const codePattern = /^[A-Za-z0-9_-]{1,64}$/;

/** What went wrong, short enough to be kept; of what is personal only what kind of error it was. */
export function keptError(error: unknown, isPersonal: boolean): string {
  if (isPersonal) return `${kindOf(error)}; what it says is not kept, because the event has personal data`;
  const message = error instanceof Error ? error.message : String(error);
  return message.slice(0, messageLengthMax);
}

/** The classes and codes of an error and of its causes, the outermost first. */
function kindOf(error: unknown): string {
  const kinds: string[] = [];
  for (let one = error; one !== undefined && kinds.length <= causesMax; ) {
    if (!(one instanceof Error)) {
      kinds.push(`a thrown ${typeof one}`);
      break;
    }
    const code: unknown = Reflect.get(one, "code");
    const isCode = typeof code === "string" && codePattern.test(code);
    kinds.push(`${one.constructor.name.slice(0, 64)}${isCode ? ` (${code})` : ""}`);
    one = one.cause;
  }
  return kinds.join(", caused by ");
}
