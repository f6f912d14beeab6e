/** What a profile names as `credential_process`: prints credentials whose key id says when they end. Argument: how long they last, in ms. */

import { shortCredentials } from "./credential-sources.ts";

const { AccessKeyId, SecretAccessKey, Token, Expiration } = shortCredentials("process", Number(process.argv[2]));
console.log(JSON.stringify({ Version: 1, AccessKeyId, SecretAccessKey, SessionToken: Token, Expiration }));
