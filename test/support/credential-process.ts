/**
 * What a profile names as `credential_process`. Arguments: how long the credentials last, in ms; and a file with a list of
 * credentials to give in turn, a line of which is added to `FILE.asked` each time. Without a file it makes some up, whose key id says
 * when they end.
 */

import { appendFileSync, readFileSync } from "node:fs";
import { shortCredentials } from "./credential-sources.ts";

const [, , lasting = "0", file] = process.argv;
const lastingMs = Number(lasting);

function nextOf(path: string): object {
  const list: readonly object[] = JSON.parse(readFileSync(path, "utf8"));
  appendFileSync(`${path}.asked`, "asked\n");
  const asked = readFileSync(`${path}.asked`, "utf8").trimEnd().split("\n").length;
  return { ...list[(asked - 1) % list.length], Expiration: new Date(Date.now() + lastingMs).toISOString() };
}

function madeUp(): object {
  const { AccessKeyId, SecretAccessKey, Token, Expiration } = shortCredentials("process", lastingMs);
  return { AccessKeyId, SecretAccessKey, SessionToken: Token, Expiration };
}

console.log(JSON.stringify({ Version: 1, ...(file === undefined ? madeUp() : nextOf(file)) }));
