/** Tracks that are made while the page goes on: a row, and a job of the service. */

import type { Project, User } from "../_shared/caller.ts";
import { BadRequest, FunctionError } from "../_shared/errors.ts";
import { writeLog } from "../_shared/handling.ts";
import {
  addJob,
  isRefusal,
  type Job,
  type JobBody,
  type JobService,
  jobServiceFrom,
  stopJob,
} from "../_shared/jobs.ts";
import { asProject, asUser, change, find, insert, type Row, setJob, unsent } from "../_shared/tracks.ts";
import { checkPath, melodyAt } from "./melody.ts";
import { writePrompt } from "./prompt.ts";
import { type MusicRequest, parseRequest } from "./request.ts";

type Env = (name: string) => string | undefined;

const RESENT_AT_ONCE = 50;
const RESEND_BUDGET_MS = 20_000;

/**
 * Adds the row of a track and sends its job. A second call with the same id adds nothing. Where the service is out
 * of reach or busy, the row stays `queued`, and the database has it sent again.
 */
export async function enqueue(
  wanted: MusicRequest & { id: string },
  user: User,
  project: Project,
  env: Env,
): Promise<Pick<Row, "id" | "status">> {
  jobServiceFrom(env);
  checkDecoder(wanted);
  checkPath(wanted.melody, user.id);
  const { id, ...request } = wanted;
  const own = asUser(project, user);
  await insert(own, { id, request, prompt: writePrompt(wanted) });
  const row = await find(own, id);
  if (row === null) throw new FunctionError("This id is taken", 409, "id: draw a new one for another track");
  if (row.status !== "queued" || row.job_id !== null) return { id, status: row.status };
  return { id, status: await send(row, project, env) };
}

/** Sends the jobs of rows that have none yet, the oldest first. */
export async function resend(project: Project, env: Env): Promise<{ sent: number; left: number }> {
  const rows = await unsent(asProject(project), RESENT_AT_ONCE);
  const deadline = performance.now() + RESEND_BUDGET_MS;
  let sent = 0;
  for (const row of rows) {
    if (performance.now() > deadline) break;
    try {
      if (await send(row, project, env) === "queued") break; // the service is out of reach: the next minute is early enough
    } catch (error) {
      writeLog("generate-music", { track: row.id, refused: String(error) });
      if (error instanceof FunctionError && !isRefusal(error)) break; // the others would meet it, too
    }
    sent += 1;
  }
  return { sent, left: rows.length - sent };
}

/** Sends the job of a row; returns the row's status then. Throws FunctionError. */
async function send(row: Row, project: Project, env: Env): Promise<Row["status"]> {
  const service = jobServiceFrom(env);
  const all = asProject(project);
  const job = await accepted(service, row, all, env);
  if (job === null) return "queued";
  const now = await setJob(all, row.id, job.id);
  if (now !== null && now.status !== "canceled") return now.status;
  await stopJob(service, job.id); // canceled or deleted meanwhile
  return "canceled";
}

/**
 * The job that the service has made of a row; null where it is out of reach or busy. A refusal of the request ends the
 * row as `failed`; after any other error, such as a refused key, it is sent again. Throws FunctionError.
 */
async function accepted(
  service: JobService,
  row: Row,
  all: ReturnType<typeof asProject>,
  env: Env,
): Promise<Job | null> {
  try {
    return await addJob(service, row.id, await jobOf(row, all, env));
  } catch (error) {
    if (error instanceof FunctionError && error.retryable) return null;
    if (isRefusal(error)) await change(all, row.id, { status: "failed", error: error.details });
    throw error;
  }
}

/** The job of a row, from its checked request: a row may have been added without this function. */
async function jobOf(row: Row, all: ReturnType<typeof asProject>, env: Env): Promise<JobBody> {
  const request = parseRequest(row.request);
  checkDecoder(request);
  checkPath(request.melody, row.user_id); // the secret key would read any file
  const melody = request.melody === undefined ? {} : { melody: await melodyAt(all, request.melody) };
  return {
    ...melody,
    prompt: writePrompt(request),
    model: request.model,
    duration_s: request.duration,
    temperature: request.temperature,
    response_format: "mp3",
    metadata: { track_id: row.id },
    webhook: {
      url: env("MUSICGEN_WEBHOOK_URL") ?? `${env("SUPABASE_URL")}/functions/v1/music-webhook`,
      events: ["progress", "completed"],
    },
  };
}

function checkDecoder(request: MusicRequest): void {
  if (request.decoder !== "default") {
    throw new BadRequest(`decoder: ${request.decoder} is not available for tracks with an id`);
  }
}
