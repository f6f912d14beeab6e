/**
 * Stand-ins for the places that AWS users have credentials from, all on loopback: a container's agent, a machine's metadata service,
 * STS and the portal of SSO. What they give lasts for seconds, and its key id says when it ends, so that a server can refuse it then.
 */

import { type S3StandIn, s3Error } from "../kv/s3-stand-in.ts";

export interface ShortCredentials {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly Token: string;
  readonly Expiration: string;
}

export function shortCredentials(source: string, lastingMs: number): ShortCredentials {
  const endsMs = Date.now() + lastingMs;
  return {
    AccessKeyId: `${source}-${endsMs}`,
    SecretAccessKey: `secret-of-${source}-${endsMs}`,
    Token: `token-of-${source}-${endsMs}`,
    Expiration: new Date(endsMs).toISOString(),
  };
}

function keyIdOf(headers: Headers): string {
  return /Credential=([^/]+)\//.exec(headers.get("authorization") ?? "")?.[1] ?? "nobody";
}

/** From now on the server refuses what has ended, as S3 does. */
export function refuseEnded(standIn: S3StandIn): void {
  standIn.intercept(({ headers }) => {
    const endsMs = Number(/-(\d+)$/.exec(keyIdOf(headers))?.[1]);
    return endsMs > Date.now() ? undefined : s3Error(400, "ExpiredToken");
  });
}

/** The key ids that WAL objects were signed with, without repetition, in order. */
export function signersOf(standIn: S3StandIn): readonly string[] {
  const puts = standIn.requests.filter(({ method, key }) => method === "PUT" && key.includes("/wal/"));
  return [...new Set(puts.map(({ headers }) => keyIdOf(headers)))];
}

const agentToken = "agent-token";

function stsAnswer(action: string, { AccessKeyId, SecretAccessKey, Token, Expiration }: ShortCredentials): Response {
  const keys = `<AccessKeyId>${AccessKeyId}</AccessKeyId><SecretAccessKey>${SecretAccessKey}</SecretAccessKey>`;
  const rest = `<SessionToken>${Token}</SessionToken><Expiration>${Expiration}</Expiration>`;
  const user =
    "<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>r:s</AssumedRoleId></AssumedRoleUser>";
  const result = `<${action}Result><Credentials>${keys}${rest}</Credentials>${user}</${action}Result>`;
  const body = `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">${result}</${action}Response>`;
  return new Response(body, { headers: { "content-type": "text/xml" } });
}

export interface CredentialSources extends AsyncDisposable {
  readonly url: string;
  readonly agentToken: string;
  /** How often each place was asked, by its name. */
  readonly asked: ReadonlyMap<string, number>;
}

/** All places behind one port. */
export function startCredentialSources(lastingMs: number): CredentialSources {
  const asked = new Map<string, number>();
  const give = (source: string): ShortCredentials => {
    asked.set(source, (asked.get(source) ?? 0) + 1);
    return shortCredentials(source, lastingMs);
  };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/agent") {
        const known = request.headers.get("authorization") === agentToken;
        return known ? Response.json(give("container")) : new Response("no", { status: 403 });
      }
      if (pathname === "/latest/api/token") return new Response("machine-token");
      if (pathname.startsWith("/latest/meta-data/iam/security-credentials")) {
        if (request.headers.get("x-aws-ec2-metadata-token") !== "machine-token")
          return new Response("no", { status: 401 });
        return pathname.endsWith("/the-role")
          ? Response.json({
              Code: "Success",
              Type: "AWS-HMAC",
              LastUpdated: new Date().toISOString(),
              ...give("machine"),
            })
          : new Response("the-role");
      }
      if (pathname === "/federation/credentials") {
        const { AccessKeyId, SecretAccessKey, Token, Expiration } = give("portal");
        const roleCredentials = {
          accessKeyId: AccessKeyId,
          secretAccessKey: SecretAccessKey,
          sessionToken: Token,
          expiration: Date.parse(Expiration),
        };
        return Response.json({ roleCredentials });
      }
      if (pathname.startsWith("/denied")) {
        const error = "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>sts:AssumeRole</Message></Error>";
        return new Response(`<ErrorResponse>${error}</ErrorResponse>`, {
          status: 403,
          headers: { "content-type": "text/xml" },
        });
      }
      const action = new URLSearchParams(await request.text()).get("Action");
      if (action === "AssumeRole") return stsAnswer(action, give("role"));
      if (action === "AssumeRoleWithWebIdentity") return stsAnswer(action, give("identity"));
      return new Response("unknown", { status: 404 });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    agentToken,
    asked,
    [Symbol.asyncDispose]: async () => {
      await server.stop(true);
    },
  };
}
