/** Handling of one request: validate it, write the prompt, request the track, respond. */

import { failure, preflight, success } from "./answer.ts";
import { checkCaller, type Project, Unauthorized } from "./caller.ts";
import { writePrompt } from "./prompt.ts";
import { BadRequest, parseRequest } from "./request.ts";
import { makeTrack, ServiceError, type Settings } from "./service.ts";

const MAX_BODY_BYTES = 65_536;

export async function handle(
  request: Request,
  settings: () => Settings,
  project: () => Project,
): Promise<Response> {
  if (request.method === "OPTIONS") return preflight();
  const requestId = requestIdOf(request);
  const startedAt = performance.now();
  const response = await answer(request, settings, project, requestId);
  response.headers.set("x-request-id", requestId);
  log({ requestId, status: response.status, ms: Math.round(performance.now() - startedAt) });
  return response;
}

/** Takes the caller's id if it is short and plain: it goes to the service, to the log and back. */
function requestIdOf(request: Request): string {
  const id = request.headers.get("x-request-id") ?? "";
  return /^[\w.:-]{1,128}$/.test(id) ? id : crypto.randomUUID();
}

async function answer(
  request: Request,
  settings: () => Settings,
  project: () => Project,
  requestId: string,
): Promise<Response> {
  try {
    if (request.method !== "POST") {
      return failure({ status: 405, error: "Method not allowed", details: "Use POST", retryable: false });
    }
    await checkCaller(request, project());
    const wanted = parseRequest(await readJson(request));
    const prompt = writePrompt(wanted);
    const track = await makeTrack(wanted, prompt, settings(), requestId, request.signal);
    return success(prompt, track);
  } catch (error) {
    return refusal(error, requestId);
  }
}

async function readJson(request: Request): Promise<unknown> {
  const body = await request.text();
  if (body.length > MAX_BODY_BYTES) throw new BadRequest(`body: longer than ${MAX_BODY_BYTES} characters`);
  try {
    return JSON.parse(body);
  } catch {
    throw new BadRequest("body: not JSON");
  }
}

function refusal(error: unknown, requestId: string): Response {
  if (error instanceof BadRequest) {
    return failure({ status: 400, error: error.message, details: error.details, retryable: false });
  }
  if (error instanceof Unauthorized) {
    return failure({ status: 401, error: error.message, details: error.details, retryable: false });
  }
  if (error instanceof ServiceError) {
    const { status, message, details, retryable, retryAfter } = error;
    return failure({ status, error: message, details, retryable, retryAfter });
  }
  log({ requestId, unexpected: String(error) });
  const details = "The function met an unexpected error; its log has it";
  return failure({ status: 500, error: "The music could not be generated", details, retryable: false });
}

/** Logs one line of JSON for the platform's log explorer, without prompts or secrets. */
function log(entry: Record<string, unknown>): void {
  console.log(JSON.stringify({ function: "generate-music", ...entry }));
}
