/** Check of the caller: publishable, secret and legacy keys, and tokens of users. */

import assert from "node:assert/strict";
import { FunctionRegion, FunctionsClient } from "npm:@supabase/functions-js@2.109.0";
import { checkCaller, type Project, projectFrom } from "../functions/_shared/caller.ts";
import { handle } from "../functions/generate-music/handler.ts";
import { ServiceError, Unauthorized } from "../functions/_shared/errors.ts";

const PUBLISHABLE = "sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH";
const SECRET = "sb_secret_N7UND0UgjKTVK_Uodkm0Hg_xSvEMPvz";
const ANON = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl";
const USER = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
const SECRETS: Record<string, string> = {
  SUPABASE_URL: "http://127.0.0.1:1",
  SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: PUBLISHABLE, web: "sb_publishable_web" }),
  SUPABASE_SECRET_KEYS: JSON.stringify({ default: SECRET }),
  SUPABASE_ANON_KEY: ANON,
  SUPABASE_SERVICE_ROLE_KEY: "legacy.service.role",
};
const project = projectFrom((name) => SECRETS[name]);

const check = (headers: Record<string, string>, of: Project = project) =>
  checkCaller(new Request("http://function/", { method: "POST", headers }), of);

const GOOD: [string, Record<string, string>][] = [
  ["a publishable key", { apikey: PUBLISHABLE }],
  ["a named publishable key", { apikey: "sb_publishable_web" }],
  ["a secret key", { apikey: SECRET }],
  ["supabase-js: the key in both headers", { apikey: PUBLISHABLE, authorization: `Bearer ${PUBLISHABLE}` }],
  ["a signed-in user of supabase-js", { apikey: PUBLISHABLE, authorization: `Bearer ${USER}` }],
  ["the legacy key as before", { authorization: `Bearer ${ANON}` }],
  ["the legacy key in apikey", { apikey: ANON }],
  ["the legacy service role", { authorization: "bearer legacy.service.role" }],
];
for (const [who, headers] of GOOD) Deno.test(`${who} may call`, () => check(headers));

const BAD: [string, Record<string, string>, RegExp][] = [
  ["nobody", {}, /^Send the project's publishable key in the header apikey$/],
  ["another project's key", { apikey: "sb_publishable_other" }, /none of the project's keys/],
  ["a part of a key", { apikey: PUBLISHABLE.slice(0, -1) }, /none of the project's keys/],
  ["a key with more", { apikey: `${PUBLISHABLE}x` }, /none of the project's keys/],
  ["a name of a key", { apikey: "default" }, /none of the project's keys/],
  ["Basic", { authorization: `Basic ${ANON}` }, /^Send the project's/],
  ["a wrong bearer", { authorization: "Bearer sb_publishable_other" }, /none of the project's keys/],
];
for (const [who, headers, details] of BAD) {
  Deno.test(`${who} may not call`, async () => {
    await assert.rejects(
      check(headers),
      (error) => error instanceof Unauthorized && details.test(error.details),
    );
  });
}

type Asked = (string | null)[];

/** Runs a Supabase Auth; asked: path, token and key of each request to it. */
async function withAuth(status: number, test: (of: Project, asked: Asked[]) => Promise<void>) {
  const asked: Asked[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, ({ url, headers }) => {
    asked.push([new URL(url).pathname, headers.get("authorization"), headers.get("apikey")]);
    return Response.json({ id: "user-1" }, { status });
  });
  try {
    await test({ ...project, url: `http://127.0.0.1:${server.addr.port}` }, asked);
  } finally {
    await server.shutdown();
  }
}

Deno.test("a user's token alone is checked by Supabase Auth", () =>
  withAuth(200, async (of, asked) => {
    await check({ authorization: `Bearer ${USER}` }, of);
    assert.deepEqual(asked, [["/auth/v1/user", `Bearer ${USER}`, PUBLISHABLE]]);
  }));

Deno.test("a token that Supabase Auth refuses is refused", () =>
  withAuth(403, async (of) => {
    await assert.rejects(check({ authorization: `Bearer ${USER}` }, of), Unauthorized);
  }));

Deno.test("only what looks like a token is sent to Supabase Auth", () =>
  withAuth(200, async (of, asked) => {
    await assert.rejects(check({ authorization: "Bearer sb_publishable_other" }, of), Unauthorized);
    assert.deepEqual(asked, []);
  }));

Deno.test("a Supabase Auth that fails or is out of reach is 503, not an open door", async () => {
  const isRetryable = (error: unknown) => error instanceof ServiceError && error.status === 503;
  await withAuth(500, (of) => assert.rejects(check({ authorization: `Bearer ${USER}` }, of), isRetryable));
  await assert.rejects(check({ authorization: `Bearer ${USER}` }), isRetryable);
});

Deno.test("a project without keys opens nothing", async () => {
  for (const keys of ["", "{", "[]", "null", "7", '{"default": 1}', '{"default": ""}']) {
    const secrets: Record<string, string> = { SUPABASE_URL: "http://a", SUPABASE_PUBLISHABLE_KEYS: keys };
    await assert.rejects(
      check({ apikey: "" }, projectFrom((name) => secrets[name])),
      (error) => error instanceof ServiceError && error.status === 500,
    );
  }
});

Deno.test("without Supabase there is nothing to check", () => check({}, projectFrom(() => undefined)));

Deno.test("a refused caller gets a structured error with CORS headers, and costs nothing", async () => {
  const request = new Request("http://function/", { method: "POST", body: "{}" });
  const response = await handle(request, () => assert.fail(), () => project);
  assert.equal(response.status, 401);
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
  assert.deepEqual(await response.json(), {
    success: false,
    error: "The request has no valid key",
    details: "Send the project's publishable key in the header apikey",
    retryable: false,
  });
});

Deno.test("Supabase's own client may call: its headers are allowed, its key is known", async () => {
  const sent: string[] = [];
  let allowed: string[] = [];
  const asFunction: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    sent.push(...request.headers.keys());
    const preflight = await handle(
      new Request(input, { method: "OPTIONS" }),
      () => assert.fail(),
      () => project,
    );
    allowed = preflight.headers.get("access-control-allow-headers")!.split(", ");
    return await handle(request, () => assert.fail(), () => project);
  };
  const client = new FunctionsClient("http://function", {
    headers: {
      apikey: PUBLISHABLE,
      Authorization: `Bearer ${PUBLISHABLE}`,
      "x-client-info": "supabase-js/2",
    },
    region: FunctionRegion.EuWest1,
    customFetch: asFunction,
  });
  const { error } = await client.invoke("generate-music", { body: { mood: 7 } });
  assert.equal((await error.context.json()).error, "Invalid request", "it got past the check of keys");
  assert(sent.includes("x-region"));
  assert.deepEqual(sent.filter((name) => !allowed.includes(name)), []);
});
