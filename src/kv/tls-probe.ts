/** Whether a server speaks TLS, for the one case that no error tells: plain HTTP that is answered by hanging up. */

import { connect } from "node:tls";

const handshakeTimeoutMs = 2_000;

/** Trusts nobody and sends nothing: only whether there is a handshake. Never rejects. */
export function speaksTls(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: host.replace(/^\[|\]$/g, ""), port, rejectUnauthorized: false });
    const settle = (speaks: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(speaks);
    };
    const timer = setTimeout(() => settle(false), handshakeTimeoutMs);
    socket.on("secureConnect", () => settle(true));
    socket.on("error", () => settle(false));
  });
}
