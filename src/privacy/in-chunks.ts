/** Does the same to many things, at most so many at once. The first failure is thrown once those under way have settled. */

export async function inChunks<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  for (let next = 0; next < items.length; next += atOnce) {
    const outcomes = await Promise.allSettled(items.slice(next, next + atOnce).map(work));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}
