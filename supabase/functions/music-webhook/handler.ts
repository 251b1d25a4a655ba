/** Messages of the music service: checked, then written into the track's row; the finished file goes into Storage. */

import { Webhook, WebhookVerificationError } from "npm:standardwebhooks@1.1.1";
import { json } from "../_shared/answers.ts";
import type { Project } from "../_shared/caller.ts";
import { BadRequest, FunctionError, Unauthorized } from "../_shared/errors.ts";
import { handled, readText } from "../_shared/handling.ts";
import { asProject, change, find, remove, type Row, upload } from "../_shared/tracks.ts";

type Env = (name: string) => string | undefined;
type Database = ReturnType<typeof asProject>;

const DOWNLOAD_TIMEOUT_MS = 60_000;

/** Job as the service tells it: the fields that are read here. */
interface Job {
  id: string;
  status: string;
  progress: number;
  metadata: { track_id?: unknown };
  result: { url: string; type: string }[];
  error: { detail?: unknown } | null;
}

export function handle(request: Request, project: Project, env: Env): Promise<Response> {
  return handled("music-webhook", request, async () => {
    const job = await verified(request, secretsFrom(env));
    const trackId = job.metadata?.track_id;
    const database = asProject(project);
    const row = typeof trackId === "string" ? await find(database, trackId) : null;
    if (row !== null && (row.status === "queued" || row.status === "running")) await record(database, row, job);
    return json(200, { success: true }); // also for a track that was deleted, or that has ended: a repeat changes nothing
  });
}

/** Reads the secrets, several of them apart by spaces while one replaces another. */
function secretsFrom(env: Env): string[] {
  const secrets = (env("MUSICGEN_WEBHOOK_SECRET") ?? "").split(/\s+/).filter(Boolean);
  if (secrets.length > 0) return secrets;
  const details = "Set the secret MUSICGEN_WEBHOOK_SECRET to the service's GET /v1/webhooks/secret";
  throw new FunctionError("The function has no secret", 500, details);
}

/** Checks the signature and the time-stamp (within 5 minutes) by Standard Webhooks. Throws Unauthorized. */
async function verified(request: Request, secrets: string[]): Promise<Job> {
  const body = await readText(request);
  const headers = Object.fromEntries(request.headers);
  for (const secret of secrets) {
    try {
      return jobOf(new Webhook(secret).verify(body, headers));
    } catch (error) {
      if (!(error instanceof WebhookVerificationError)) throw error;
    }
  }
  throw new Unauthorized("The signature of Standard Webhooks does not fit the body, the secret and the time");
}

function jobOf(message: unknown): Job {
  const job = (message as { data?: unknown } | null)?.data;
  if (typeof job !== "object" || job === null || !("status" in job)) throw new BadRequest("body: has no job");
  return job as Job;
}

async function record(database: Database, row: Row, job: Job): Promise<void> {
  if (job.status === "succeeded") {
    await store(database, row, job);
  } else if (job.status === "failed" || job.status === "canceled") {
    const error = typeof job.error?.detail === "string" ? job.error.detail : null;
    await change(database, row.id, { status: job.status, error });
  } else if (job.status === "running") {
    await change(database, row.id, { status: "running", progress: job.progress, job_id: job.id });
  }
}

/** Streams the file into the user's folder, then marks the track as ready. One that has ended meanwhile gets no file. */
async function store(database: Database, row: Row, job: Job): Promise<void> {
  const file = job.result[0];
  if (file === undefined) throw new BadRequest("body: has no result");
  const path = `${row.user_id}/${row.id}.mp3`;
  const response = await fetch(file.url, { signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) }).catch(() => null);
  if (!response?.ok || response.body === null) {
    await response?.body?.cancel();
    const details = `HTTP ${response?.status ?? "connection failed"}`;
    throw new FunctionError("The service's file could not be fetched", 503, details, "10");
  }
  await upload(database, path, response.body, file.type);
  if (await change(database, row.id, { status: "ready", progress: 1, path })) return;
  const now = await find(database, row.id);
  if (now?.status !== "ready") await remove(database, path); // ready: by the same message, sent twice
}
