/** Requests of `cancel-music`: `{"id": "..."}` of a track that the user has asked for. */

import { json } from "../_shared/answers.ts";
import { checkUser, type Project } from "../_shared/caller.ts";
import { BadRequest, FunctionError } from "../_shared/errors.ts";
import { handled, readJson } from "../_shared/handling.ts";
import { cancelJob, jobServiceFrom } from "../_shared/jobs.ts";
import { asProject, asUser, change, find } from "../_shared/tracks.ts";

type Env = (name: string) => string | undefined;

export function handle(
  request: Request,
  project: Project,
  env: Env,
): Promise<Response> {
  return handled("cancel-music", request, async () => {
    const user = await checkUser(request, project);
    const id = idOf(await readJson(request));
    const track = await find(asUser(project, user), id);
    if (track === null) throw new FunctionError("No such track", 404, "id: none of your tracks has it");
    const all = asProject(project);
    await change(all, id, { status: "canceled" });
    const now = await find(all, id);
    if (now?.status === "canceled" && now.job_id !== null) await stop(now.job_id, env);
    return json(200, { success: true, id, status: now?.status ?? "canceled" });
  });
}

/** Cancels the job. Where the service is out of reach, the job ends by itself, and its file is not stored. */
async function stop(jobId: string, env: Env): Promise<void> {
  try {
    await cancelJob(jobServiceFrom(env), jobId);
  } catch (error) {
    if (!(error instanceof FunctionError && error.retryable)) throw error;
  }
}

function idOf(body: unknown): string {
  const id = (body as { id?: unknown } | null)?.id;
  if (typeof id === "string" && /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(id)) return id;
  throw new BadRequest("id: must be the UUID of a track");
}
