/** Responses to the front end, with CORS headers. */

import { SOURCE_TYPE, type Track } from "./service.ts";

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

export function success(prompt: string, track: Track): Response {
  const published = ["small", "medium", "large", "melody"].includes(track.model);
  const title = track.model.charAt(0).toUpperCase() + track.model.slice(1);
  const headers: Record<string, string> = track.source_type ? { [SOURCE_TYPE]: track.source_type } : {};
  const body = {
    success: true,
    audioUrl: `data:audio/${track.format};base64,${track.audio_base64}`,
    prompt,
    metadata: {
      model: published ? `AudioCraft MusicGen ${title} (Meta Research)` : `MusicGen ${title}`,
      version: published ? `facebook/musicgen-${track.model}` : `musicgen-${track.model}`,
      model_size: track.model,
      decoder: track.decoder,
      duration: track.duration,
      status: "generated",
      format: track.format,
      size: track.size_bytes,
      framework: "AudioCraft (Ray Serve)",
      generation_time_seconds: track.generation_time_seconds,
    },
  };
  return json(200, body, headers);
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

function json(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { ...CORS, "content-type": "application/json", ...headers },
  });
}
