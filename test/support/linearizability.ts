/**
 * Decides whether a history of concurrent calls could have come from calls one after another, each taking effect at one
 * moment between its invocation and its answer: the search of Wing and Gong, which tries orders, with the remembering of
 * Lowe and of Porcupine, which never looks twice at the same calls done with the same state reached. Calls whose answer is
 * unknown may take effect at any later time, or never. Beside it a weaker check for replicas. It knows nothing of stores.
 */

/** What calls do to a state. States are plain values that are never changed. */
export interface SequentialModel<State, Input, Output> {
  readonly initial: State;
  /**
   * The state after a call that was answered so, or `undefined` where it cannot have been. An `output` of `undefined` is an
   * unknown answer: the state after it took effect, or `undefined` where it has none.
   */
  step(state: State, input: Input, output: Output | undefined): State | undefined;
  /** The same text for the same state. */
  keyOf(state: State): string;
}

/** One call. Times are of one clock that never gives the same time twice. */
export interface Operation<Input, Output> {
  readonly caller: string;
  readonly input: Input;
  readonly invokedAt: number;
  /** `undefined` where nobody knows what became of it. */
  readonly answer: { readonly output: Output; readonly at: number } | undefined;
}

/** How many steps a search may take before it gives up undecided. */
const searchStepsMax = 2_000_000;

export type Verdict<Input, Output> =
  | { readonly linearizable: true; readonly order: readonly Operation<Input, Output>[] }
  /** `longest`: the most calls that could be put in order; `stuck`: those of which one had to come next, and none could. */
  | {
      readonly linearizable: false;
      readonly longest: readonly Operation<Input, Output>[];
      readonly stuck: readonly Operation<Input, Output>[];
    };

/** Calls that are done, by their index, as a number in base 2. */
type DoneSet = bigint;

interface Frame<State> {
  readonly state: State;
  readonly done: DoneSet;
  /** Calls that may come next here, and which of them were tried. */
  readonly candidates: readonly number[];
  next: number;
}

class Search<State, Input, Output> {
  readonly #model: SequentialModel<State, Input, Output>;
  readonly #operations: readonly Operation<Input, Output>[];
  readonly #answered: number;
  readonly #seen = new Set<string>();

  constructor(model: SequentialModel<State, Input, Output>, history: readonly Operation<Input, Output>[]) {
    this.#model = model;
    this.#operations = history.toSorted((left, right) => left.invokedAt - right.invokedAt);
    this.#answered = this.#operations.filter((operation) => operation.answer !== undefined).length;
  }

  run(): Verdict<Input, Output> {
    const order: number[] = [];
    let longest: readonly number[] = [];
    let longestFrame = this.#frame(this.#model.initial, 0n);
    const frames = [longestFrame];
    let answered = 0;
    for (let steps = 0; frames.length > 0; steps += 1) {
      if (answered === this.#answered) return { linearizable: true, order: this.#named(order) };
      if (steps > searchStepsMax) throw new Error(`Undecided after ${searchStepsMax} steps`);
      const frame = frames.at(-1);
      const index = frame?.candidates[frame.next];
      if (frame === undefined || index === undefined) {
        frames.pop();
        const undone = order.pop();
        if (undone !== undefined && this.#operations[undone]?.answer !== undefined) answered -= 1;
        continue;
      }
      frame.next += 1;
      const following = this.#follow(frame, index);
      if (following === undefined) continue;
      frames.push(following);
      order.push(index);
      if (this.#operations[index]?.answer !== undefined) answered += 1;
      if (order.length > longest.length) {
        longest = [...order];
        longestFrame = following;
      }
    }
    return { linearizable: false, longest: this.#named(longest), stuck: this.#named(longestFrame.candidates) };
  }

  #named(indexes: readonly number[]): readonly Operation<Input, Output>[] {
    return indexes.map((index) => this.#operations[index]).filter((operation) => operation !== undefined);
  }

  /** What comes after the call of that index, unless it cannot come next or was looked at before. */
  #follow({ state, done }: Frame<State>, index: number): Frame<State> | undefined {
    const operation = this.#operations[index];
    if (operation === undefined) return undefined;
    const after = this.#model.step(state, operation.input, operation.answer?.output);
    if (after === undefined) return undefined;
    const doneAfter = done | (1n << BigInt(index));
    const seen = `${doneAfter.toString(36)} ${this.#model.keyOf(after)}`;
    if (this.#seen.has(seen)) return undefined;
    this.#seen.add(seen);
    return this.#frame(after, doneAfter);
  }

  /** A call may come next unless another one was answered before it was even invoked, and is not done. */
  #frame(state: State, done: DoneSet): Frame<State> {
    const candidates: number[] = [];
    let firstAnswer = Number.POSITIVE_INFINITY;
    for (const [index, operation] of this.#operations.entries()) {
      if (operation.invokedAt > firstAnswer) break;
      if ((done >> BigInt(index)) & 1n) continue;
      candidates.push(index);
      firstAnswer = Math.min(firstAnswer, operation.answer?.at ?? Number.POSITIVE_INFINITY);
    }
    const mayBeNext = candidates.filter((index) => (this.#operations[index]?.invokedAt ?? 0) < firstAnswer);
    // Answered calls first: what is unknown is seldom needed.
    const isOpen = (index: number): number => (this.#operations[index]?.answer === undefined ? 1 : 0);
    return { state, done, candidates: mayBeNext.toSorted((left, right) => isOpen(left) - isOpen(right)), next: 0 };
  }
}

/** Throws where it is still undecided after two million steps. */
export function checkLinearizable<State, Input, Output>(
  model: SequentialModel<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
): Verdict<Input, Output> {
  return new Search(model, history).run();
}

/**
 * For readers that may lag behind: what each of them saw, in its own order, must be beginnings of `whole`, none shorter than
 * the one before. Answers what is wrong, or `undefined`.
 */
export function findUnsteadyReader(
  whole: readonly string[],
  readers: ReadonlyMap<string, readonly (readonly string[])[]>,
): string | undefined {
  for (const [reader, reads] of readers) {
    let seen = 0;
    for (const [index, read] of reads.entries()) {
      const differs = read.findIndex((id, at) => id !== whole[at]);
      if (differs >= 0) return `${reader}'s read ${index + 1} has ${read[differs]} where ${whole[differs]} is`;
      if (read.length < seen) return `${reader}'s read ${index + 1} goes back from ${seen} to ${read.length}`;
      seen = read.length;
    }
  }
  return undefined;
}
