/** The fault proxy's connections to the server behind it: kept alive and used again, one request at a time on each. */

import { connect, type Socket } from "node:net";
import { HttpFraming, type HttpMessage } from "./http-framing.ts";

/** Servers end idle connections; one that has been idle for longer than this is not used again. */
const idleMsMax = 2_000;
const idleConnectionsMax = 256;

interface Idle {
  readonly socket: Socket;
  readonly sinceMs: number;
}

export class ProxyUpstream {
  readonly #host: string;
  readonly #port: number;
  #idle: Idle[] = [];

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  /** Sends a whole request and answers with the whole answer, or rejects where the server cuts it short. */
  exchange(request: Buffer, method: string): Promise<HttpMessage> {
    const socket = this.#take();
    return new Promise((resolve, reject) => {
      const framing = new HttpFraming({ untilClose: true });
      const finish = (answer: HttpMessage | undefined, error?: unknown): void => {
        socket.removeAllListeners();
        socket.on("error", () => {});
        if (answer === undefined) {
          socket.destroy();
          reject(error ?? new Error("The server ended the connection"));
          return;
        }
        const ends = answer.headers.get("connection")?.toLowerCase() === "close" || socket.readableEnded;
        if (ends || !framing.isEmpty) socket.destroy();
        else this.#giveBack(socket);
        resolve(answer);
      };
      const look = (ended: boolean): void => {
        let answer = framing.next(method !== "HEAD", ended);
        // "100 Continue" and its like come before the answer.
        while (answer !== undefined && / 1\d\d /.test(answer.startLine))
          answer = framing.next(method !== "HEAD", ended);
        if (answer !== undefined) finish(answer);
        else if (ended) finish(undefined);
      };
      socket.on("data", (chunk: Buffer) => {
        framing.push(chunk);
        look(false);
      });
      socket.on("end", () => look(true));
      socket.on("error", (error) => finish(undefined, error));
      socket.on("close", () => finish(undefined));
      socket.write(request);
    });
  }

  /** Sends some bytes and ends the connection, as a caller does who dies in the middle. */
  sendPart(part: Buffer): Promise<void> {
    const socket = this.#connect();
    return new Promise((resolve) => {
      socket.on("error", () => resolve());
      socket.write(part, () => {
        socket.destroy();
        resolve();
      });
    });
  }

  #take(): Socket {
    const nowMs = performance.now();
    for (;;) {
      const idle = this.#idle.pop();
      if (idle === undefined) return this.#connect();
      if (nowMs - idle.sinceMs < idleMsMax && !idle.socket.destroyed) {
        idle.socket.removeAllListeners();
        return idle.socket;
      }
      idle.socket.destroy();
    }
  }

  #connect(): Socket {
    const socket = connect({ host: this.#host, port: this.#port, noDelay: true });
    return socket;
  }

  #giveBack(socket: Socket): void {
    if (this.#idle.length >= idleConnectionsMax) {
      socket.destroy();
      return;
    }
    socket.on("close", () => {
      this.#idle = this.#idle.filter((idle) => idle.socket !== socket);
    });
    this.#idle.push({ socket, sinceMs: performance.now() });
  }
}
