/**
 * The fault proxy's own process: takes whole requests, asks the rules what is to happen to each, and passes bytes on as they
 * came, so that signatures hold. `fault-proxy.ts` is the side of whoever starts it; they speak JSON, one line each. A process
 * of its own, because a store's native threads may wait for the thread of JavaScript that the proxy would need.
 */

import { createServer, type Socket } from "node:net";
import type { CountRow, ProxyCommand } from "./fault-proxy.ts";
import { classify, type Decision, FaultRules, type ProxiedRequest } from "./fault-rules.ts";
import { HttpFraming, type HttpMessage } from "./http-framing.ts";
import { ProxyUpstream } from "./proxy-upstream.ts";

/** Shorter waits are not split in two: a timer is right to a millisecond or so. */
const splitDelayMsMin = 20;

const target = new URL(process.argv[2] ?? "");
const upstream = new ProxyUpstream(target.hostname, Number(target.port));
const rules = new FaultRules();
type Counted = { -readonly [Key in keyof CountRow]: CountRow[Key] };
let counted = new Map<string, Counted>();

function countRowOf({ bucket, method, purpose }: ProxiedRequest): Counted {
  const key = `${bucket}\n${method}\n${purpose}`;
  let row = counted.get(key);
  if (row === undefined) {
    row = { bucket, method, purpose, requests: 0, faults: 0, refusals: 0, requestBytes: 0, answerBytes: 0 };
    counted.set(key, row);
  }
  return row;
}

function wait(ms: number): Promise<void> {
  return ms <= 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}

/** An answer of S3's when it refuses, as the proxy gives it. */
function refusal(status: number, code: string, method: string): Buffer {
  const text = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`;
  const head = [
    `HTTP/1.1 ${status} ${code}`,
    "Content-Type: application/xml",
    `Content-Length: ${text.length}`,
    `Date: ${new Date().toUTCString()}`,
  ];
  return Buffer.from(`${head.join("\r\n")}\r\n\r\n${method === "HEAD" ? "" : text}`);
}

/** The request with its date moved: the server looks at the date before it looks at the signature. */
function skewed(request: HttpMessage, skewMs: number): Buffer {
  const moved = new Date(Date.now() + skewMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const head = request.bytes.toString("latin1", 0, request.bodyFrom).replace(/(x-amz-date: *)\S+/i, `$1${moved}`);
  return Buffer.concat([Buffer.from(head, "latin1"), request.bytes.subarray(request.bodyFrom)]);
}

function half(message: HttpMessage): Buffer {
  const body = message.bytes.length - message.bodyFrom;
  return message.bytes.subarray(0, body > 1 ? message.bodyFrom + (body >> 1) : message.bodyFrom >> 1);
}

/** What goes back to the caller: bytes, after which the connection goes on or ends (without bytes: is reset); no bytes and no end: silence. */
interface Reply {
  readonly bytes?: Buffer;
  readonly thenEnd?: boolean;
}

async function passOn(bytes: Buffer, method: string, decision: Decision): Promise<HttpMessage | undefined> {
  const split = decision.delayMs >= splitDelayMsMin;
  if (split) await wait(decision.delayMs / 2);
  const answer = await upstream.exchange(bytes, method).catch(() => undefined);
  await wait(split ? decision.delayMs / 2 : decision.delayMs);
  return answer;
}

async function serve(request: HttpMessage, seen: ProxiedRequest, decision: Decision): Promise<Reply> {
  const { fault, delayMs } = decision;
  const { method } = seen;
  if (fault?.kind === "silence-before") return {};
  if (fault?.kind === "answer" || fault?.kind === "reset-before" || fault?.kind === "half-request") {
    await wait(delayMs);
    if (fault.kind === "answer") return { bytes: refusal(fault.status, fault.code, method) };
    if (fault.kind === "half-request") await upstream.sendPart(half(request));
    return { thenEnd: true };
  }
  const bytes = fault?.kind === "clock-skew" ? skewed(request, fault.skewMs) : request.bytes;
  const answer = await passOn(bytes, method, decision);
  if (fault?.kind === "silence-after") return {};
  if (fault?.kind === "reset-after" || answer === undefined) return { thenEnd: true };
  if (fault?.kind === "answer-after") return { bytes: refusal(fault.status, fault.code, method) };
  if (fault?.kind === "half-response") return { bytes: half(answer), thenEnd: true };
  const ends = answer.headers.get("connection")?.toLowerCase() === "close";
  return { bytes: answer.bytes, thenEnd: ends };
}

class ClientConnection {
  readonly #socket: Socket;
  readonly #framing = new HttpFraming({ untilClose: false });
  #busy = false;
  #continued = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      this.#framing.push(chunk);
      if (!this.#busy) this.#look();
    });
  }

  #look(): void {
    const request = this.#framing.next(true);
    if (request !== undefined) {
      this.#continued = false;
      this.#busy = true;
      this.#answer(request).then(
        () => {
          this.#busy = false;
          if (!this.#socket.destroyed) this.#look();
        },
        // What cannot be understood cannot be answered.
        () => this.#socket.destroy(),
      );
    } else if (!this.#continued && this.#framing.head()?.headers.has("expect") === true) {
      this.#continued = true;
      this.#socket.write("HTTP/1.1 100 Continue\r\n\r\n");
    }
  }

  async #answer(request: HttpMessage): Promise<void> {
    const [method = "", path = ""] = request.startLine.split(" ");
    const seen = classify(method, path);
    const decision = rules.decide(seen, performance.now());
    const row = countRowOf(seen);
    row.requests += 1;
    row.requestBytes += request.bytes.length;
    if (decision.fault !== undefined) row.faults += 1;
    const { bytes, thenEnd = false } = await serve(request, seen, decision);
    if (bytes !== undefined) {
      row.answerBytes += bytes.length;
      if (/^HTTP\/1\.1 [45]/.test(bytes.toString("latin1", 0, 10))) row.refusals += 1;
      this.#send(bytes, thenEnd);
    } else if (thenEnd) {
      this.#socket.resetAndDestroy();
    }
  }

  #send(bytes: Buffer, thenEnd: boolean): void {
    if (this.#socket.destroyed) return;
    // A reset would throw away what is on its way; the caller is to see the half that was sent.
    if (thenEnd) this.#socket.end(bytes);
    else this.#socket.write(bytes);
  }
}

function obey(command: ProxyCommand): unknown {
  switch (command.kind) {
    case "set":
      rules.set(command.ruleId, command.rule, performance.now());
      return null;
    case "clear":
      return rules.clear(command.ruleId);
    case "clear-all":
      rules.clearAll();
      return null;
    case "counts":
      return [...counted.values()];
    case "reset-counts":
      counted = new Map();
      return null;
  }
}

const server = createServer((socket) => new ClientConnection(socket));
server.listen({ host: "127.0.0.1", port: 0, backlog: 4_096 }, () => {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  process.stdout.write(`${JSON.stringify({ id: 0, value: port })}\n`);
});

for await (const line of console) {
  // What is left of a line whose writer is gone.
  if (!line.endsWith("}")) break;
  const { id, command }: { id: number; command: ProxyCommand } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify({ id, value: obey(command) })}\n`);
}
// Whoever started it is gone.
process.exit(0);
