/** Requests of `generate-music`: a whole track now, or one that is made while the page goes on. */

import { json } from "../_shared/answers.ts";
import { checkCaller, checkSecretKey, checkUser, type Project } from "../_shared/caller.ts";
import { handled, readJson } from "../_shared/handling.ts";
import { success } from "./answer.ts";
import { enqueue, resend } from "./enqueue.ts";
import { melodyFor, MOST_BODY_BYTES } from "./melody.ts";
import { writePrompt } from "./prompt.ts";
import { parseRequest } from "./request.ts";
import { makeTrack, type Settings } from "./service.ts";

export type Env = (name: string) => string | undefined;

export function handle(
  request: Request,
  settings: () => Settings,
  project: () => Project,
  env: Env = () => undefined,
): Promise<Response> {
  return handled("generate-music", request, async (requestId) => {
    await checkCaller(request, project());
    const body = await readJson(request, MOST_BODY_BYTES);
    if (isResend(body)) {
      await checkSecretKey(request, project());
      return json(200, { success: true, ...await resend(project(), env) });
    }
    const wanted = parseRequest(body);
    if (wanted.id !== undefined && !new URL(request.url).searchParams.has("wait")) {
      const user = await checkUser(request, project());
      return json(202, {
        success: true,
        ...await enqueue({ ...wanted, id: wanted.id }, user, project(), env),
      });
    }
    const prompt = writePrompt(wanted);
    const melody = await melodyFor(request, wanted.melody, project);
    const track = await makeTrack({ ...wanted, melody }, prompt, settings(), requestId, request.signal);
    return success(prompt, track);
  });
}

/** The call that the database makes each minute. */
function isResend(body: unknown): boolean {
  return typeof body === "object" && body !== null && (body as { resend?: unknown }).resend === true;
}
