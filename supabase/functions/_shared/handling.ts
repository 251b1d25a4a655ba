/** One request of a function, from the preflight to the log. */

import { failure, preflight } from "./answers.ts";
import { BadRequest, FunctionError } from "./errors.ts";

const MAX_BODY_BYTES = 65_536;

/** Answers a POST by `answer`, whose errors become answers, too. `name` of the function stands in its log. */
export async function handled(
  name: string,
  request: Request,
  answer: (requestId: string) => Promise<Response>,
): Promise<Response> {
  if (request.method === "OPTIONS") return preflight();
  const requestId = requestIdOf(request);
  const log = (entry: Record<string, unknown>) => writeLog(name, { requestId, ...entry });
  const startedAt = performance.now();
  const response = await answered(request, () => answer(requestId), log);
  response.headers.set("x-request-id", requestId);
  log({ status: response.status, ms: Math.round(performance.now() - startedAt) });
  return response;
}

/** Reads a body of JSON. Throws BadRequest. */
export async function readJson(request: Request, mostBytes = MAX_BODY_BYTES): Promise<unknown> {
  const body = await readText(request, mostBytes);
  try {
    return JSON.parse(body);
  } catch {
    throw new BadRequest("body: not JSON");
  }
}

/** Reads a body of at most `mostBytes`, and not a byte more into memory. Throws BadRequest. */
export async function readText(request: Request, mostBytes = MAX_BODY_BYTES): Promise<string> {
  const decoder = new TextDecoder();
  let size = 0;
  let text = "";
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > mostBytes) throw new BadRequest(`body: longer than ${mostBytes} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Writes one line of JSON for the platform's log explorer, without prompts or secrets. */
export function writeLog(name: string, entry: Record<string, unknown>): void {
  console.log(JSON.stringify({ function: name, ...entry }));
}

/** Takes the caller's id if it is short and plain: it goes to the service, to the log and back. */
function requestIdOf(request: Request): string {
  const id = request.headers.get("x-request-id") ?? "";
  return /^[\w.:-]{1,128}$/.test(id) ? id : crypto.randomUUID();
}

async function answered(
  request: Request,
  answer: () => Promise<Response>,
  log: (entry: Record<string, unknown>) => void,
): Promise<Response> {
  if (request.method !== "POST") {
    return failure({ status: 405, error: "Method not allowed", details: "Use POST", retryable: false });
  }
  try {
    return await answer();
  } catch (error) {
    if (error instanceof FunctionError) {
      const { status, message, details, retryable, retryAfter } = error;
      return failure({ status, error: message, details, retryable, retryAfter });
    }
    log({ unexpected: String(error) });
    const details = "The function met an unexpected error; its log has it";
    return failure({ status: 500, error: "The music could not be generated", details, retryable: false });
  }
}
