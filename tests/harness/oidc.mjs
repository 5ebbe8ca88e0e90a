// A real OpenID Connect provider for a test: node-oidc-provider, with nobody to ask for a password.
//
// Argument: {"redirect":"…"} as JSON. It writes {"issuer":"…"} to standard output once it listens, and ends when its
// standard input does, so that no provider outlives the test that wanted it, however that test died.
//
// The test says who sits before it: POST /test/user {"sub","email","email_verified"}, with {"in_token":true} where the ID
// token itself names the address. And what goes wrong with the next ID tokens: POST /test/tamper {"claims":{…}},
// {"key":"foreign"} for a signature with another key, {"key":"none"} for none at all; {} for nothing.

import { once } from "node:events";
import { createServer } from "node:http";
import { generateKeyPair, exportJWK, SignJWT, decodeJwt, UnsecuredJWT } from "jose";

// Standard output is for the one line that the test reads; the provider has things to say too.
console.log = console.info = console.warn = console.error;

const { Provider } = await import("oidc-provider");
const { redirect } = JSON.parse(process.argv[2]);

const server = createServer();
server.listen(0, "127.0.0.1");
await once(server, "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;

const own = await generateKeyPair("RS256", { extractable: true });
const foreign = await generateKeyPair("RS256", { extractable: true });
const jwk = { ...(await exportJWK(own.privateKey)), kid: "own", use: "sig", alg: "RS256" };

let user = { sub: "nobody" };
let tamper = {};
const people = new Map();

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "nightlatch",
      client_secret: "a-client-secret",
      redirect_uris: [redirect],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  jwks: { keys: [jwk] },
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  conformIdTokenClaims: true,
  pkce: { required: () => true },
  cookies: { keys: ["test"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(_ctx, sub) {
    const { email, email_verified } = people.get(sub) ?? {};
    return { accountId: sub, claims: () => ({ sub, email, email_verified }) };
  },
  async loadExistingGrant(ctx) {
    const { client, session } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid email");
    await grant.save();
    return grant;
  },
});

provider.use(async (ctx, next) => {
  await next();
  if (ctx.path !== "/token" || !ctx.body?.id_token) return;
  const { email, email_verified, in_token } = people.get(user.sub) ?? {};
  const { claims, key } = tamper;
  if (!claims && !key && !in_token) return;
  const changed = { ...decodeJwt(ctx.body.id_token), ...(in_token && { email, email_verified }), ...claims };
  ctx.body.id_token =
    key === "none"
      ? new UnsecuredJWT(changed).encode()
      : await new SignJWT(changed)
          .setProtectedHeader({ alg: "RS256", kid: "own" })
          .sign((key === "foreign" ? foreign : own).privateKey);
});

provider.on("grant.error", (_ctx, error) => console.error(error.error_detail ?? error));
provider.on("server_error", (_ctx, error) => console.error(error));

const body = async (request) => {
  let text = "";
  for await (const chunk of request) text += chunk;
  return JSON.parse(text);
};

const answer = provider.callback();
server.on("request", async (request, response) => {
  try {
    if (request.url === "/test/user") {
      user = await body(request);
      people.set(user.sub, user);
      response.end("{}");
    } else if (request.url === "/test/tamper") {
      tamper = await body(request);
      response.end("{}");
    } else if (request.url.startsWith("/interaction/")) {
      const result = { login: { accountId: user.sub } };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    } else {
      answer(request, response);
    }
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error?.stack ?? error));
  }
});

process.stdout.write(`${JSON.stringify({ issuer })}\n`);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
