/** Responses of the function, with a fake music service. */

import assert from "node:assert/strict";
import { handle as handleFor } from "../functions/generate-music/handler.ts";
import { ServiceError } from "../functions/_shared/errors.ts";
import { type Settings, settingsFrom } from "../functions/generate-music/service.ts";

const TRACK = {
  success: true,
  audio_base64: "UklGRg==",
  prompt: "p",
  model: "small",
  decoder: "default",
  duration: 8,
  sample_rate: 32000,
  size_bytes: 4,
  generation_time_seconds: 2.5,
  format: "wav",
}; // deno-fmt-ignore
const FIELDS = { mood: "happy", genres: ["lofi"], energy: 5, duration: 8, temperature: 0.7, model: "medium" };

/** Handles a request without Supabase: then there are no keys to check. */
const handle = (request: Request, settings: () => Settings) =>
  handleFor(request, settings, () => ({ keys: [], secretKeys: [], url: undefined }));

type Upstream = (request: Request) => Response | Promise<Response>;

const LIMITS = { key: "secret", budgetMs: 5_000, backOffMs: 10, silenceMs: 200, hasHealth: true };

const LIVE = "/health/live";

/** Runs a service whose `/health/live` answers 200, and which answers all else by `upstream`. */
async function withService(upstream: Upstream, test: (settings: Settings) => Promise<void>): Promise<void> {
  await withServer((request) => {
    const isProbe = request.method === "GET" && new URL(request.url).pathname === LIVE;
    return isProbe ? new Response() : upstream(request);
  }, test);
}

async function withServer(upstream: Upstream, test: (settings: Settings) => Promise<void>): Promise<void> {
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, upstream);
  const url = `http://127.0.0.1:${server.addr.port}/`;
  try {
    await test({ ...LIMITS, url });
  } finally {
    await server.shutdown();
  }
}

const post = (body: unknown, headers = {}, signal?: AbortSignal) =>
  new Request("http://function/", { method: "POST", body: JSON.stringify(body), headers, signal });

async function refusal(response: Response): Promise<Record<string, unknown>> {
  const body = await response.json();
  assert.deepEqual(Object.keys(body), ["success", "error", "details", "retryable"]);
  assert.equal(body.success, false);
  assertCors(response);
  return body;
}

function assertCors(response: Response): void {
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
  const allowed = response.headers.get("access-control-allow-headers");
  assert.equal(
    allowed,
    "authorization, x-client-info, apikey, content-type, x-region, x-request-id, x-retry-count, " +
      "traceparent, tracestate, baggage",
  );
  assert.equal(
    response.headers.get("access-control-expose-headers"),
    "retry-after, x-request-id, x-musicgen-digital-source-type",
  );
}

Deno.test("the mark of generated audio is passed on, and none is invented", async () => {
  const mark = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
  const name = "x-musicgen-digital-source-type";
  for (const headers of [{ [name]: mark }, {}] as Record<string, string>[]) {
    await withService(() => Response.json(TRACK, { headers }), async (settings) => {
      const response = await handle(post({ customPrompt: "sea shanty" }), () => settings);
      assert.equal(response.headers.get(name), headers[name] ?? null);
      assertCors(response);
      await response.body?.cancel();
    });
  }
});

Deno.test("every line that the function logs is JSON with the request's id", async () => {
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => lines.push(line);
  try {
    await withService(() => Response.json(TRACK), async (settings) => {
      await handle(post(FIELDS, { "x-request-id": "id-1" }), () => settings);
      await handle(post({}, { "x-request-id": "id-1" }), () => settings);
      await handle(post(FIELDS, { "x-request-id": "id-1" }), () => {
        throw new Error("broken");
      });
    });
  } finally {
    console.log = log;
  }
  const entries = lines.map((line) => JSON.parse(line));
  assert.deepEqual(entries.map(({ requestId }) => requestId), Array(4).fill("id-1"));
  assert.deepEqual(entries.map(({ status }) => status), [200, 400, undefined, 500]);
});

Deno.test("a track", () =>
  withService(async (request) => {
    assert.equal(request.headers.get("authorization"), "Bearer secret");
    assert.equal(request.headers.get("x-request-id"), "id-1");
    const { prompt, ...rest } = await request.json();
    assert.match(prompt, /^lofi, happy mood, /);
    assert.deepEqual(rest, { model: "medium", decoder: "default", duration: 8, temperature: 0.7 });
    return Response.json(TRACK);
  }, async (settings) => {
    const response = await handle(post(FIELDS, { "x-request-id": "id-1" }), () => settings);
    assert.equal(response.status, 200);
    assertCors(response);
    assert.equal(response.headers.get("x-request-id"), "id-1");
    const { prompt, ...answer } = await response.json();
    assert.match(prompt, /high quality production$/);
    assert.deepEqual(answer, {
      success: true,
      audioUrl: "data:audio/wav;base64,UklGRg==",
      metadata: {
        model: "AudioCraft MusicGen Small (Meta Research)",
        version: "facebook/musicgen-small",
        model_size: "small",
        decoder: "default",
        duration: 8,
        status: "generated",
        format: "wav",
        size: 4,
        framework: "AudioCraft (Ray Serve)",
        generation_time_seconds: 2.5,
      },
    });
  }));

Deno.test("the metadata names the model that made the track", () =>
  withService(() => Response.json({ ...TRACK, model: "nano" }), async (settings) => {
    const { metadata } = await (await handle(post(FIELDS), () => settings)).json();
    assert.deepEqual([metadata.model, metadata.version, metadata.model_size], [
      "MusicGen Nano",
      "musicgen-nano",
      "nano",
    ]);
  }));

Deno.test("a preflight", async () => {
  const response = await handle(new Request("http://function/", { method: "OPTIONS" }), () => assert.fail());
  assert.equal(response.status, 200);
  assertCors(response);
});

Deno.test("other methods", async () => {
  const response = await handle(new Request("http://function/"), () => assert.fail());
  assert.equal(response.status, 405);
  await refusal(response);
});

Deno.test("bad input is 400 and names the field", async () => {
  const response = await handle(post({ ...FIELDS, duration: 31 }), () => assert.fail());
  assert.equal(response.status, 400);
  const { details, retryable } = await refusal(response);
  assert.match(String(details), /^duration: /);
  assert.equal(retryable, false);
});

Deno.test("broken and huge bodies", async () => {
  for (
    const [body, details] of [["{", "body: not JSON"], [
      "x".repeat(12_600_000),
      "body: longer than 12582912 bytes",
    ]]
  ) {
    const response = await handle(
      new Request("http://function/", { method: "POST", body }),
      () => assert.fail(),
    );
    assert.equal(response.status, 400);
    assert.equal((await refusal(response)).details, details);
  }
});

const STATUSES: [number, number, boolean][] = [
  [400, 400, false],
  [401, 500, false],
  [404, 500, false],
  [500, 500, false],
  [504, 504, true],
];

for (const [status, expected, retryable] of STATUSES) {
  Deno.test(`the service's ${status} is ${expected}`, () =>
    withService(() => Response.json({ detail: "Because" }, { status }), async (settings) => {
      const response = await handle(post(FIELDS), () => settings);
      assert.equal(response.status, expected);
      const body = await refusal(response);
      assert.deepEqual([body.details, body.retryable], ["Because", retryable]);
    }));
}

for (const status of [429, 503]) {
  Deno.test(`a service that stays busy (${status}) is 503 with Retry-After`, () =>
    withService(
      () => Response.json({ detail: "Busy" }, { status, headers: { "retry-after": "9" } }),
      async (settings) => {
        const response = await handle(post(FIELDS), () => settings);
        assert.equal(response.status, 503);
        assert.equal(response.headers.get("retry-after"), "9");
        assert.equal((await refusal(response)).retryable, true);
      },
    ));
}

Deno.test("a busy service is retried within the budget", async () => {
  let calls = 0;
  await withService(
    () => ++calls < 3 ? Response.json({ detail: "Loading" }, { status: 503 }) : Response.json(TRACK),
    async (settings) => {
      assert.equal((await handle(post(FIELDS), () => settings)).status, 200);
      assert.equal(calls, 3);
    },
  );
});

Deno.test("other failures are not retried", async () => {
  let calls = 0;
  await withService(() => (calls++, Response.json({ detail: "No" }, { status: 500 })), async (settings) => {
    await refusal(await handle(post(FIELDS), () => settings));
    assert.equal(calls, 1);
  });
});

Deno.test("a service that takes too long is 504", () => {
  const held = Promise.withResolvers<Response>();
  return withService(() => held.promise, async (settings) => {
    const response = await handle(post(FIELDS), () => ({ ...settings, budgetMs: 50 }));
    held.resolve(new Response());
    assert.equal(response.status, 504);
    const { details, retryable } = await refusal(response);
    assert.deepEqual([details, retryable], ["No answer within 0.05 s", true]);
  });
});

for (const hasHealth of [true, false]) {
  const which = hasHealth ? "the service" : "the serverless function";
  Deno.test(`${which} that refuses connections is 503 within the silence, not the budget`, async () => {
    const startedAt = performance.now();
    const settings = { ...LIMITS, url: "http://127.0.0.1:1/", silenceMs: 300, hasHealth };
    const response = await handle(post(FIELDS), () => settings);
    assert(performance.now() - startedAt < 2_000);
    assert.equal(response.status, 503);
    assert.equal(response.headers.get("retry-after"), "10");
    const { error, retryable } = await refusal(response);
    assert.deepEqual([error, retryable], ["The music service cannot be reached", true]);
  });
}

Deno.test("a service that accepts connections and says nothing is 503 within the silence", () => {
  const held = Promise.withResolvers<Response>();
  return withServer(() => held.promise, async (settings) => {
    const response = await handle(post(FIELDS), () => settings);
    held.resolve(new Response());
    assert.equal(response.status, 503);
    assert.equal((await refusal(response)).details, "No answer from the music service");
  });
});

for (const status of [502, 503, 504]) {
  Deno.test(`a proxy that answers ${status} for the service is 503 within the silence`, () =>
    withServer(() => new Response("<html>", { status }), async (settings) => {
      const response = await handle(post(FIELDS), () => settings);
      assert.equal(response.status, 503);
      assert.match(String((await refusal(response)).details), /^Only a proxy of the music service/);
    }));
}

Deno.test("a service that starts within the silence makes the track", () => {
  let probes = 0;
  return withServer((request) => {
    if (request.method === "POST") return Response.json(TRACK);
    return new Response(null, { status: ++probes < 3 ? 503 : 200 });
  }, async (settings) => {
    assert.equal((await handle(post(FIELDS), () => ({ ...settings, silenceMs: 3_000 }))).status, 200);
    assert.equal(probes, 3);
  });
});

Deno.test("a generation may be silent for longer than a service that is down", () =>
  withService(async () => {
    await new Promise((resolve) => setTimeout(resolve, 5 * LIMITS.silenceMs));
    return Response.json(TRACK);
  }, async (settings) => {
    assert.equal((await handle(post(FIELDS), () => settings)).status, 200);
  }));

Deno.test("a busy service is retried for longer than a service that is down", () => {
  const startedAt = performance.now();
  const isBusy = () => performance.now() - startedAt < 4 * LIMITS.silenceMs;
  return withService(
    () => isBusy() ? Response.json({ detail: "Busy" }, { status: 429 }) : Response.json(TRACK),
    async (settings) => {
      assert.equal((await handle(post(FIELDS), () => settings)).status, 200);
    },
  );
});

Deno.test("the probe goes below the path of the service", () => {
  const paths: string[] = [];
  return withServer((request) => {
    paths.push(`${request.method} ${new URL(request.url).pathname}`);
    return Response.json(TRACK);
  }, async (settings) => {
    for (const path of ["music", "music/"]) {
      await handle(post(FIELDS), () => ({ ...settings, url: settings.url + path }));
    }
    const probe = `GET /music${LIVE}`;
    assert.deepEqual(paths, [probe, "POST /music", probe, "POST /music/"]);
  });
});

Deno.test("a caller that leaves while the serverless function is looked for ends the search", async () => {
  const caller = new AbortController();
  const settings = { ...LIMITS, url: "http://127.0.0.1:1/", silenceMs: 60_000, hasHealth: false };
  const response = handle(post(FIELDS, {}, caller.signal), () => settings);
  setTimeout(() => caller.abort(), 100);
  const startedAt = performance.now();
  await response;
  assert(performance.now() - startedAt < 5_000);
});

Deno.test("the serverless function is not asked for its health: it boots before it answers", () =>
  withServer((request) => {
    assert.equal(request.method, "POST");
    return Response.json(TRACK);
  }, async (settings) => {
    assert.equal((await handle(post(FIELDS), () => ({ ...settings, hasHealth: false }))).status, 200);
  }));

Deno.test("a Retry-After that is a date is honoured", async () => {
  let calls = 0;
  const date = new Date(Date.now() + 60_000).toUTCString();
  await withService(
    () => (calls++, Response.json({}, { status: 503, headers: { "retry-after": date } })),
    async (settings) => {
      const response = await handle(post(FIELDS), () => settings);
      assert.deepEqual([response.status, response.headers.get("retry-after"), calls], [503, date, 1]);
    },
  );
});

for (const id of ["a".repeat(129), "a b", "<script>"]) {
  Deno.test(`an id such as ${id.slice(0, 9)} is replaced`, () =>
    withService((request) => {
      assert.match(request.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
      return Response.json(TRACK);
    }, async (settings) => {
      const response = await handle(post(FIELDS, { "x-request-id": id }), () => settings);
      assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
    }));
}

Deno.test("an answer without audio is 500", () =>
  withService(() => new Response("<html>"), async (settings) => {
    assert.equal((await handle(post(FIELDS), () => settings)).status, 500);
  }));

Deno.test("a client that disconnects cancels the request to the service", async () => {
  const arrived = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<void>();
  const held = Promise.withResolvers<Response>();
  await withService((request) => {
    arrived.resolve();
    request.signal.addEventListener("abort", () => gone.resolve());
    return held.promise;
  }, async (settings) => {
    const caller = new AbortController();
    const response = handle(post(FIELDS, {}, caller.signal), () => settings);
    await arrived.promise;
    caller.abort();
    await gone.promise;
    held.resolve(new Response());
    await response;
  });
});

Deno.test("settings are read from the secrets, with the old name of the URL", () => {
  const from = (secrets: Record<string, string>) => settingsFrom((name) => secrets[name]);
  const [a, b] = ["https://a/", "http://b"];
  assert.equal(from({ MUSICGEN_API_URL: a, MODAL_API_URL: b }).url, a);
  assert.equal(from({ MODAL_API_URL: b }).url, b);
  assert.equal(from({ MUSICGEN_API_URL: a, MUSICGEN_API_KEY: "k" }).key, "k");
  assert(from({ MUSICGEN_API_URL: a }).budgetMs < 150_000);
  assert.equal(from({ MUSICGEN_API_URL: a }).silenceMs, 10_000);
  assert.deepEqual([from({ MUSICGEN_API_URL: a }).hasHealth, from({ MODAL_API_URL: b }).hasHealth], [
    true,
    false,
  ]);
  const wrong: Record<string, string>[] = [{}, { MUSICGEN_API_URL: "music.example" }, {
    MUSICGEN_API_URL: "ftp://a",
  }];
  for (const secrets of wrong) {
    assert.throws(() => from(secrets), { message: "The music service is not configured", status: 500 });
  }
});

Deno.test("a secret that is no URL is named, not the one in its place", () => {
  const details = (secrets: Record<string, string>) => {
    try {
      settingsFrom((name) => secrets[name]);
    } catch (error) {
      return error instanceof ServiceError ? error.details : String(error);
    }
  };
  const no = (name: string) => `The secret ${name} is not a URL such as https://music.example.com/`;
  assert.equal(details({ MODAL_API_URL: "foo" }), no("MODAL_API_URL"));
  assert.equal(details({ MUSICGEN_API_URL: "", MODAL_API_URL: "foo" }), no("MODAL_API_URL"));
  assert.equal(details({ MUSICGEN_API_URL: "foo", MODAL_API_URL: "http://b" }), no("MUSICGEN_API_URL"));
});

Deno.test("a missing secret is named", async () => {
  const response = await handle(post(FIELDS), () => settingsFrom(() => undefined));
  assert.equal(response.status, 500);
  assert.equal((await refusal(response)).details, "Set the secret MUSICGEN_API_URL");
});
