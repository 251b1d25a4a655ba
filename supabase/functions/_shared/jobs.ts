/** Client of the music service's durable jobs, `/v1/jobs`. */

import { FunctionError, ServiceError } from "./errors.ts";

/** An answer must be there within 10 s, whatever the service does. */
const TIMEOUT_MS = 8_000;

export interface JobService {
  url: string;
  key: string | undefined;
}

/** Fields of `POST /v1/jobs` that the functions send. */
export interface JobBody {
  prompt: string;
  /** A file in base64. */
  melody?: string;
  model: string;
  duration_s: number;
  temperature: number;
  response_format: "mp3";
  metadata: { track_id: string };
  webhook: { url: string; events: ("progress" | "completed")[] };
}

export interface Job {
  id: string;
  status: string;
}

/** Reads the secrets MUSICGEN_API_URL and MUSICGEN_API_KEY. Throws ServiceError without a URL. */
export function jobServiceFrom(env: (name: string) => string | undefined): JobService {
  const url = env("MUSICGEN_API_URL");
  if (!url || !URL.canParse(url) || !/^https?:/i.test(url)) {
    const details = "Set the secret MUSICGEN_API_URL to the service's address, such as https://music.example.com/";
    throw new ServiceError("The music service is not configured", 500, details);
  }
  return { url, key: env("MUSICGEN_API_KEY") };
}

/** Adds a job, once: a call again with the same `key` returns the job of the first time. Throws ServiceError. */
export function addJob(service: JobService, key: string, body: JobBody): Promise<Job> {
  return call(service, "v1/jobs", { "idempotency-key": `"${key}"` }, JSON.stringify(body));
}

/** Whether the request itself is refused; other errors pass, or are the operator's to mend. */
export function isRefusal(error: unknown): error is FunctionError {
  return error instanceof FunctionError && (error.status === 400 || error.status === 404);
}

/** Cancels a job; one that has ended stays as it is. Throws ServiceError. */
export function cancelJob(service: JobService, id: string): Promise<Job> {
  return call(service, `v1/jobs/${encodeURIComponent(id)}/cancel`, {});
}

/**
 * Cancels the job of a track that is canceled already. A service that is out of reach, or knows the job no more, is no
 * error: the job ends by itself, and its file is not stored. Throws ServiceError.
 */
export async function stopJob(service: JobService, id: string): Promise<void> {
  try {
    await cancelJob(service, id);
  } catch (error) {
    const isPassing = error instanceof ServiceError && (error.retryable || error.status === 404);
    if (!isPassing) throw error;
  }
}

async function call(
  service: JobService,
  path: string,
  extra: Record<string, string>,
  body?: string,
): Promise<Job> {
  const headers: Record<string, string> = { ...extra };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (service.key) headers.authorization = `Bearer ${service.key}`;
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  let answer: Partial<Job> & { detail?: unknown } | null;
  try {
    response = await fetch(new URL(path, directory(service.url)), { method: "POST", headers, body, signal });
    answer = await response.json().catch(() => null);
  } catch {
    throw new ServiceError("The music service cannot be reached", 503, "No answer from the music service", "10");
  }
  if (response.ok && typeof answer?.id === "string") return answer as Job;
  const details = typeof answer?.detail === "string" ? answer.detail : `HTTP ${response.status}`;
  throw refused(response, details);
}

/** The URL with a `/` at its end, so that paths are below it. */
function directory(url: string): string {
  return url.endsWith("/") ? url : `${url}/`;
}

function refused(response: Response, details: string): ServiceError {
  const { status, headers } = response;
  if (status === 401 || status === 403) {
    return new ServiceError("The music service refused the function's key", 500, details);
  }
  if (response.ok) {
    return new ServiceError("The music service cannot be reached", 503, "The answer is not the service's", "10");
  }
  if (status === 429 || status >= 500 || status === 408) {
    const after = headers.get("retry-after") ?? "10";
    return new ServiceError("The music service is busy or a model is loading", 503, details, after);
  }
  return new ServiceError("The music service refused the request", status === 404 ? 404 : 400, details);
}
