/** Responses with CORS headers. */

/** Header of the service that says that the audio was generated; the front end gets it, too. */
export const SOURCE_TYPE = "x-musicgen-digital-source-type";

/** Headers that supabase-js sends (the last three when tracing is on), and the request's id. */
const ALLOWED = [
  "authorization",
  "x-client-info",
  "apikey",
  "content-type",
  "x-region",
  "x-request-id",
  "x-retry-count",
  "traceparent",
  "tracestate",
  "baggage",
];

const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-headers": ALLOWED.join(", "),
  "access-control-allow-methods": "POST, OPTIONS",
  "access-control-expose-headers": `retry-after, x-request-id, ${SOURCE_TYPE}`,
  "access-control-max-age": "3600",
};

export function preflight(): Response {
  return new Response("ok", { headers: CORS });
}

export interface Failure {
  status: number;
  error: string;
  details: string;
  retryable: boolean;
  retryAfter?: string | null;
}

export function failure({ status, error, details, retryable, retryAfter }: Failure): Response {
  const headers: Record<string, string> = retryAfter ? { "retry-after": retryAfter } : {};
  return json(status, { success: false, error, details, retryable }, headers);
}

export function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { ...CORS, "content-type": "application/json", ...headers },
  });
}
