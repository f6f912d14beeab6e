/** Handing over credentials that end: who gets them, when they are renewed, and what is left when the store is closed. */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { serveCredentials } from "../../src/kv/credential-endpoint.ts";
import { RenewedCredentials } from "../../src/kv/renewed-credentials.ts";
import type { FoundCredentials } from "../../src/kv/s3-client.ts";
import { TurnedClock } from "./stores.ts";

setDefaultTimeout(60_000);

const minuteMs = 60_000;

function lasting(name: string, clock: TurnedClock, ms: number): FoundCredentials {
  return {
    accessKeyId: `key-${name}`,
    secretAccessKey: `secret-${name}`,
    sessionToken: `token-${name}`,
    expiration: new Date(clock.now() + ms),
  };
}

interface Source {
  readonly clock: TurnedClock;
  readonly credentials: RenewedCredentials;
  readonly failures: unknown[];
  /** The askings under way, to be answered. */
  readonly asked: PromiseWithResolvers<FoundCredentials>[];
}

function sourceOf(firstMs: number): Source {
  const clock = new TurnedClock();
  const asked: PromiseWithResolvers<FoundCredentials>[] = [];
  const failures: unknown[] = [];
  const credentials = new RenewedCredentials({
    first: lasting("first", clock, firstMs),
    renew: () => {
      const asking = Promise.withResolvers<FoundCredentials>();
      asked.push(asking);
      return asking.promise;
    },
    onFailure: (error) => failures.push(error),
    clock,
  });
  return { clock, credentials, failures, asked };
}

describe("Credentials that end", () => {
  test("are used as they are while more than five minutes are left", async () => {
    const { clock, credentials, asked } = sourceOf(60 * minuteMs);
    clock.advance(54 * minuteMs);
    expect((await credentials.current())?.accessKeyId).toBe("key-first");
    expect(asked).toHaveLength(0);
  });

  test("are renewed once in the background with five minutes left, and nobody waits for that", async () => {
    const { clock, credentials, asked } = sourceOf(60 * minuteMs);
    clock.advance(55 * minuteMs);
    const answers = await Promise.all(Array.from({ length: 5 }, () => credentials.current()));
    expect(answers.map((found) => found?.accessKeyId)).toEqual(Array.from({ length: 5 }, () => "key-first"));
    expect(asked).toHaveLength(1);
    asked[0]?.resolve(lasting("second", clock, 60 * minuteMs));
    await asked[0]?.promise;
    expect((await credentials.current())?.accessKeyId).toBe("key-second");
    expect(asked).toHaveLength(1);
  });

  test("are waited for in their last minute", async () => {
    const { clock, credentials, asked } = sourceOf(60 * minuteMs);
    clock.advance(59.5 * minuteMs);
    const waiting = credentials.current();
    asked[0]?.resolve(lasting("second", clock, 60 * minuteMs));
    expect((await waiting)?.accessKeyId).toBe("key-second");
  });

  test("are asked for no more than a few times where the source goes on giving the same", async () => {
    const { clock, credentials, asked } = sourceOf(5 * minuteMs);
    const same = lasting("same", clock, 5 * minuteMs);
    for (let second = 0; second < 299; second += 1) {
      const current = credentials.current();
      asked.at(-1)?.resolve(same);
      expect(await current).toBeDefined();
      clock.advance(1_000);
    }
    expect(asked.length).toBeGreaterThan(5);
    expect(asked.length).toBeLessThan(40);
  });

  test("are used to their end where renewing fails, which is told once, and again after a success", async () => {
    const { clock, credentials, asked, failures } = sourceOf(5 * minuteMs);
    for (const what of ["first", "first", "none", "back", "back"]) {
      const current = credentials.current();
      if (what === "back") asked.at(-1)?.resolve(lasting("back", clock, minuteMs / 2));
      else asked.at(-1)?.reject(new Error("no"));
      const found = await current;
      expect(found?.accessKeyId).toBe(what === "none" ? undefined : `key-${what}`);
      clock.advance(what === "back" ? 1 : 2.5 * minuteMs);
    }
    expect(failures).toHaveLength(1);
    clock.advance(minuteMs);
    const current = credentials.current();
    asked.at(-1)?.reject(new Error("no"));
    expect(await current).toBeUndefined();
    expect(failures).toHaveLength(2);
  });
});

describe("The endpoint that hands them over", () => {
  async function serve(renew: () => Promise<FoundCredentials>): Promise<{
    readonly url: string;
    readonly tokenFile: string;
    readonly clock: TurnedClock;
    close(): Promise<void>;
  }> {
    const clock = new TurnedClock();
    const first = lasting("first", clock, 60 * minuteMs);
    const { environment, close } = await serveCredentials({ first, renew, onFailure: () => {}, clock });
    const url = environment.AWS_CONTAINER_CREDENTIALS_FULL_URI ?? "";
    const tokenFile = environment.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE ?? "";
    return { url, tokenFile, clock, close };
  }

  const never = (): Promise<FoundCredentials> => Promise.reject(new Error("no more"));

  test("answers whoever can read its token, and nobody else", async () => {
    const { url, tokenFile, close } = await serve(never);
    const token = readFileSync(tokenFile, "utf8");
    expect(token.length).toBeGreaterThanOrEqual(43);
    expect(statSync(tokenFile).mode & 0o777).toBe(0o600);
    expect(statSync(dirname(tokenFile)).mode & 0o777).toBe(0o700);
    expect(new URL(url).hostname).toBe("127.0.0.1");
    const ask = (authorization: string, more: RequestInit = {}, path = ""): Promise<Response> =>
      fetch(url + path, { ...more, headers: authorization === "" ? {} : { authorization } });
    for (const wrong of ["", "wrong", `Bearer ${token}`, token.slice(1), `${token}x`]) {
      const refused = await ask(wrong);
      expect(refused.status).toBe(403);
      expect(await refused.text()).toBe("");
    }
    expect((await ask(token, { method: "POST" })).status).toBe(404);
    expect((await ask(token, {}, "/more")).status).toBe(404);
    const answer = await ask(token);
    expect(await answer.json()).toMatchObject({ AccessKeyId: "key-first", Token: "token-first" });
    await close();
  });

  test("has nothing to give once they have ended and cannot be renewed", async () => {
    const { url, tokenFile, clock, close } = await serve(never);
    clock.advance(61 * minuteMs);
    const answer = await fetch(url, { headers: { authorization: readFileSync(tokenFile, "utf8") } });
    expect(answer.status).toBe(503);
    expect(await answer.text()).toBe("");
    await close();
  });

  test("keeps no process alive that does nothing else, nor leaves its file behind then", async () => {
    const script = `
      import { serveCredentials } from ${JSON.stringify(join(import.meta.dir, "../../src/kv/credential-endpoint.ts"))};
      const first = { accessKeyId: "k", secretAccessKey: "s", expiration: new Date(2 ** 42) };
      const { environment } = await serveCredentials({ first, renew: async () => first, onFailure: () => {} });
      console.log(environment.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE);`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
    expect(await child.exited).toBe(0);
    const tokenFile = (await child.stdout.text()).trim();
    expect(tokenFile).toEndWith("token");
    expect(existsSync(dirname(tokenFile))).toBe(false);
  });

  test("leaves neither server nor file behind", async () => {
    const { url, tokenFile, close } = await serve(never);
    await close();
    await close();
    expect(existsSync(dirname(tokenFile))).toBe(false);
    expect(await fetch(url).catch(() => "nobody")).toBe("nobody");
  });
});
