/**
 * Requests of `cancel-music`: `{"id": "..."}` of a track that the user has asked for, or `{"job_id": "..."}`, which the
 * database sends with a secret key when a row is deleted.
 */

import { json } from "../_shared/answers.ts";
import { checkSecretKey, checkUser, type Project } from "../_shared/caller.ts";
import { BadRequest, FunctionError } from "../_shared/errors.ts";
import { handled, readJson } from "../_shared/handling.ts";
import { cancelJob, jobServiceFrom, stopJob } from "../_shared/jobs.ts";
import { asProject, asUser, change, find } from "../_shared/tracks.ts";

type Env = (name: string) => string | undefined;

export function handle(
  request: Request,
  project: Project,
  env: Env,
): Promise<Response> {
  return handled("cancel-music", request, async () => {
    const body = await readJson(request);
    const jobId = jobIdOf(body);
    if (jobId !== null) {
      await checkSecretKey(request, project);
      const { status } = await cancelJob(jobServiceFrom(env), jobId);
      return json(200, { success: true, job_id: jobId, status });
    }
    const user = await checkUser(request, project);
    const id = idOf(body);
    const track = await find(asUser(project, user), id);
    if (track === null) throw new FunctionError("No such track", 404, "id: none of your tracks has it");
    const all = asProject(project);
    await change(all, id, { status: "canceled" });
    const now = await find(all, id);
    if (now?.status === "canceled" && now.job_id !== null) {
      await stopJob(jobServiceFrom(env), now.job_id);
    }
    return json(200, { success: true, id, status: now?.status ?? "canceled" });
  });
}

/** The id of a job, null in a user's request. */
function jobIdOf(body: unknown): string | null {
  const id = (body as { job_id?: unknown } | null)?.job_id;
  return typeof id === "string" ? id : null;
}

function idOf(body: unknown): string {
  const id = (body as { id?: unknown } | null)?.id;
  if (typeof id === "string" && /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(id)) return id;
  throw new BadRequest("id: must be the UUID of a track");
}
