/** How far a long command is: one line that is drawn over on a terminal, elsewhere a plain line every few seconds. */

import type { Clock } from "../runtime/clock.ts";
import { formatCount, formatCounted, formatSeconds } from "./text.ts";

const plainIntervalMs = 3_000;
const terminalIntervalMs = 100;
const barCells = 24;
const clearLine = "\r\u001b[2K";

export interface ProgressTarget {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export interface ProgressState {
  readonly events: number;
  /** How much of the input has been read, from 0 to 1, where that is known. */
  readonly fraction: number | undefined;
}

export class Progress {
  readonly #clock: Clock;
  readonly #target: ProgressTarget;
  readonly #startedMs: number;
  #shownMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, target: ProgressTarget) {
    this.#clock = clock;
    this.#target = target;
    this.#startedMs = clock.monotonic();
  }

  get elapsedMs(): number {
    return this.#clock.monotonic() - this.#startedMs;
  }

  show({ events, fraction }: ProgressState): void {
    const isTerminal = this.#target.isTTY === true;
    const elapsedMs = this.elapsedMs;
    if (elapsedMs - this.#shownMs < (isTerminal ? terminalIntervalMs : plainIntervalMs)) return;
    this.#shownMs = elapsedMs;
    const rate = `${formatCount(Math.round(events / Math.max(0.001, elapsedMs / 1_000)))}/s`;
    const parts = [formatCounted(events, "event"), rate];
    if (fraction !== undefined && fraction > 0) {
      const percent = `${Math.floor(fraction * 100)} %`;
      const left = `${formatSeconds((elapsedMs / fraction) * (1 - fraction))} left`;
      parts.unshift(isTerminal ? `${bar(fraction)} ${percent}` : percent);
      parts.push(left);
    }
    this.#target.write(isTerminal ? `${clearLine}${parts.join("  ")}` : `${parts.join(", ")}\n`);
  }

  /** Takes the line away from a terminal. */
  end(): void {
    if (this.#target.isTTY === true) this.#target.write(clearLine);
  }
}

function bar(fraction: number): string {
  const full = Math.min(barCells, Math.floor(fraction * barCells));
  return `[${"#".repeat(full)}${"-".repeat(barCells - full)}]`;
}
