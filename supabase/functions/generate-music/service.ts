/** Client of the music service, with retries within a time budget. */

import { SOURCE_TYPE } from "../_shared/answers.ts";
import { ServiceError } from "../_shared/errors.ts";
import type { MusicRequest } from "./request.ts";

export interface Settings {
  url: string;
  key: string | undefined;
  /** Milliseconds until the function gives up; the platform ends a request after 150 s. */
  budgetMs: number;
  /** Milliseconds before the first retry, doubled for each further one. */
  backOffMs: number;
  /** Milliseconds that the service may stay out of reach. */
  silenceMs: number;
  /** Whether the service answers `GET /health/live` at once; a serverless function accepts connections only. */
  hasHealth: boolean;
}

/** Response of `POST /`, and its header SOURCE_TYPE; null: a service of an earlier version. */
export interface Track {
  source_type: string | null;
  audio_base64: string;
  model: string;
  decoder: string;
  duration: number;
  size_bytes: number;
  generation_time_seconds: number;
  format: string;
}

/** Service that is out of reach: refused or unanswered connections, unknown host, or only a proxy that answers. */
class Unreachable extends ServiceError {
  constructor(details: string) {
    super("The music service cannot be reached", 503, details, "10");
  }
}

function unreachable(silence: AbortSignal): Unreachable {
  return new Unreachable(
    silence.aborted ? "No answer from the music service" : "No connection to the music service",
  );
}

/** Reads the secrets. `MODAL_API_URL` is the URL's name in projects that called the serverless function. */
export function settingsFrom(env: (name: string) => string | undefined): Settings {
  const secret = env("MUSICGEN_API_URL") ? "MUSICGEN_API_URL" : "MODAL_API_URL";
  const url = env(secret);
  if (!url) throw notConfigured("Set the secret MUSICGEN_API_URL");
  if (!URL.canParse(url) || !/^https?:/i.test(url)) {
    throw notConfigured(`The secret ${secret} is not a URL such as https://music.example.com/`);
  }
  return {
    url,
    key: env("MUSICGEN_API_KEY"),
    budgetMs: 140_000,
    backOffMs: 1_000,
    silenceMs: 10_000,
    hasHealth: secret === "MUSICGEN_API_URL",
  };
}

function notConfigured(details: string): ServiceError {
  return new ServiceError("The music service is not configured", 500, details);
}

/** Requests the track. A busy service is asked again within the budget, one out of reach for `silenceMs`. */
export async function makeTrack(
  request: MusicRequest,
  prompt: string,
  settings: Settings,
  requestId: string,
  left: AbortSignal,
): Promise<Track> {
  const timeout = AbortSignal.timeout(settings.budgetMs);
  const signal = AbortSignal.any([timeout, left]);
  const deadline = performance.now() + settings.budgetMs;
  const { model, decoder, duration, temperature, melody } = request;
  const body = JSON.stringify({ prompt, model, decoder, duration, temperature, melody_audio_base64: melody });
  let silentAt = performance.now() + settings.silenceMs;
  for (let backOffMs = settings.backOffMs;; backOffMs *= 2) {
    let isThere = false;
    try {
      if (settings.hasHealth) {
        await probe(settings.url, silentAt, signal);
        isThere = true;
      } else {
        await connect(settings.url, silentAt, signal);
      }
      return await callOnce(body, settings, requestId, signal);
    } catch (error) {
      if (timeout.aborted) throw outOfTime(settings);
      if (!(error instanceof ServiceError) || error.status !== 503) throw error;
      const isSilent = error instanceof Unreachable;
      if (isThere || !isSilent) silentAt = performance.now() + settings.silenceMs;
      const waitMs = Math.max(backOffMs, isSilent ? 0 : 1000 * seconds(error.retryAfter));
      if (performance.now() + waitMs >= (isSilent ? Math.min(silentAt, deadline) : deadline)) throw error;
      await pause(waitMs, left);
      if (!isSilent) silentAt += waitMs;
    }
  }
}

/**
 * Throws Unreachable unless the service answers before `silentAt`. `fetch` alone waits two minutes for an
 * address that swallows packets, and a generation may be silent for as long while all is well.
 */
async function probe(url: string, silentAt: number, signal: AbortSignal): Promise<void> {
  const live = new URL(url);
  live.pathname = live.pathname.replace(/\/?$/, "/health/live");
  const silence = AbortSignal.timeout(Math.max(1, silentAt - performance.now()));
  let response: Response;
  try {
    response = await fetch(live, { signal: AbortSignal.any([silence, signal]) });
    await response.body?.cancel();
  } catch (error) {
    if (signal.aborted) throw error;
    throw unreachable(silence);
  }
  if ([502, 503, 504].includes(response.status)) {
    throw new Unreachable(`Only a proxy of the music service answers (${response.status})`);
  }
}

/**
 * Throws Unreachable unless the address accepts a connection before `silentAt`. More cannot be asked of a serverless
 * function, which boots before it answers anything: only its platform is always there.
 */
async function connect(url: string, silentAt: number, signal: AbortSignal): Promise<void> {
  const { hostname, port, protocol } = new URL(url);
  const silence = AbortSignal.timeout(Math.max(1, silentAt - performance.now()));
  const limit = AbortSignal.any([silence, signal]);
  const connected = Deno.connect({
    hostname: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port) || (protocol === "https:" ? 443 : 80),
    signal: limit,
  }).then((connection) => connection.close());
  try {
    await Promise.race([connected, aborted(limit)]); // older runtimes ignore the signal of a connection
  } catch (error) {
    connected.catch(() => {});
    if (signal.aborted) throw error;
    throw unreachable(silence);
  }
}

/** Rejects when the signal is aborted. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener("abort", () => reject(signal.reason), { once: true })
  );
}

/** Seconds of a `Retry-After`, which may be a date. */
function seconds(retryAfter: string | null): number {
  const number = Number(retryAfter ?? 0);
  if (Number.isFinite(number)) return Math.max(0, number);
  const date = Date.parse(retryAfter ?? "");
  return Number.isNaN(date) ? 0 : Math.max(0, (date - Date.now()) / 1000);
}

async function callOnce(
  body: string,
  settings: Settings,
  requestId: string,
  signal: AbortSignal,
): Promise<Track> {
  const headers: Record<string, string> = { "content-type": "application/json", "x-request-id": requestId };
  if (settings.key) headers.authorization = `Bearer ${settings.key}`;
  let response: Response;
  try {
    response = await fetch(settings.url, { method: "POST", headers, body, signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Unreachable("No connection to the music service");
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && typeof answer?.audio_base64 === "string") {
    return { ...answer, source_type: response.headers.get(SOURCE_TYPE) };
  }
  const details = typeof answer?.detail === "string" ? answer.detail : `HTTP ${response.status}`;
  if (response.ok) {
    throw new ServiceError("The music service's answer has no audio", 500, "Unexpected answer");
  }
  throw new ServiceError(
    sentence(response.status),
    upstream(response.status),
    details,
    response.headers.get("retry-after"),
  );
}

/** Maps a status of the service to the status for the front end. */
function upstream(status: number): number {
  if (status === 429 || status === 502) return 503;
  return [400, 503, 504].includes(status) ? status : 500;
}

function sentence(status: number): string {
  if (status === 400) return "The music service refused the request";
  if (status === 401 || status === 403) return "The music service refused the function's key";
  if (status === 429 || status === 502 || status === 503) {
    return "The music service is busy or a model is loading";
  }
  if (status === 504) return "The music service took too long";
  return "The music could not be generated";
}

function outOfTime(settings: Settings): ServiceError {
  const details = `No answer within ${settings.budgetMs / 1000} s`;
  return new ServiceError("The music service took too long", 504, details);
}

function pause(ms: number, left: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    left.addEventListener("abort", () => (clearTimeout(timer), reject(left.reason)), { once: true });
  });
}
