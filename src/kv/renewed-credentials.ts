/**
 * Credentials that end, kept fresh: renewed in the background while they are still good, and waited for only when they are nearly
 * over. Sources that go on giving what ends soon are asked ever more often, yet not at every request.
 */

import type { Clock } from "../runtime/clock.ts";
import type { FoundCredentials } from "./s3-client.ts";

/** With less than this left they are renewed; a little more than the five minutes at which the engine asks. */
const renewalMs = 5 * 60_000 + 15_000;

/** With less than this left a caller waits for the renewal. */
const urgencyMs = 60_000;

/** Sources are asked again once this part of what was left has passed. */
const spacing = 1 / 4;

export interface RenewedCredentialsOptions {
  readonly first: FoundCredentials;
  readonly renew: () => Promise<FoundCredentials>;
  /** Told once when renewing begins to fail, and again only after it has succeeded. */
  readonly onFailure: (error: unknown) => void;
  readonly clock: Clock;
}

export class RenewedCredentials {
  readonly #options: RenewedCredentialsOptions;
  #found: FoundCredentials;
  #renewing: Promise<void> | undefined;
  /** Not before this time are the sources asked again. */
  #nextMs = 0;
  #failing = false;

  constructor(options: RenewedCredentialsOptions) {
    this.#options = options;
    this.#found = options.first;
  }

  /** What to sign with now; `undefined` where it has ended and nothing newer is to be had. */
  async current(): Promise<FoundCredentials | undefined> {
    const leftMs = this.#leftMs();
    if (leftMs < renewalMs && (leftMs <= 0 || this.#options.clock.now() >= this.#nextMs)) {
      this.#renewing ??= this.#renew().finally(() => {
        this.#renewing = undefined;
      });
    }
    if (leftMs < urgencyMs) await this.#renewing;
    return this.#leftMs() > 0 ? this.#found : undefined;
  }

  #leftMs(): number {
    const { expiration } = this.#found;
    return expiration === undefined ? Number.POSITIVE_INFINITY : expiration.getTime() - this.#options.clock.now();
  }

  async #renew(): Promise<void> {
    try {
      this.#found = await this.#options.renew();
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#options.onFailure(error);
      this.#failing = true;
    }
    this.#nextMs = this.#options.clock.now() + Math.max(0, this.#leftMs()) * spacing;
  }
}
