/** What somebody who mistyped a word probably meant. */

/** How many letters must be changed, added, left out or swapped with their neighbour to turn one word into the other. */
function distance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const same = from[row - 1] === to[column - 1];
      let least = Math.min(
        (current[column - 1] ?? 0) + 1,
        (last[column] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      if (swapped) least = Math.min(least, (beforeLast[column - 2] ?? 0) + 1);
      current.push(least);
    }
    beforeLast = last;
    last = current;
  }
  return last[to.length] ?? 0;
}

/** The word that `given` is a mistyping or the beginning of, if one is near enough. */
export function nearest(given: string, words: readonly string[]): string | undefined {
  if (given.length > 32) return undefined;
  const beginning = given.length >= 2 ? words.filter((word) => word.startsWith(given)) : [];
  if (beginning.length === 1) return beginning[0];
  const [best] = words
    .map((word) => ({ word, changes: distance(given, word) }))
    .toSorted((one, other) => one.changes - other.changes);
  return best !== undefined && best.changes <= Math.max(1, Math.floor(best.word.length / 3)) ? best.word : undefined;
}
