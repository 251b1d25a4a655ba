/** Check of the caller: one of the project's API keys, or the token of a user who is signed in. */

import { ServiceError } from "./service.ts";

const AUTH_TIMEOUT_MS = 5_000;

/** API keys of the project, and its URL. Without both, the function does not run on Supabase. */
export interface Project {
  keys: string[];
  url: string | undefined;
}

/** Caller without a valid key or token. */
export class Unauthorized extends Error {
  constructor(readonly details: string) {
    super("The request has no valid key");
  }
}

/**
 * Reads what the platform gives each function: dictionaries of publishable and secret keys
 * (`sb_publishable_…`, `sb_secret_…`, not JWTs), and the legacy keys, which are JWTs.
 */
export function projectFrom(env: (name: string) => string | undefined): Project {
  const keys = [
    ...named(env("SUPABASE_PUBLISHABLE_KEYS")),
    env("SUPABASE_PUBLISHABLE_KEY"),
    env("SUPABASE_ANON_KEY"),
    ...named(env("SUPABASE_SECRET_KEYS")),
    env("SUPABASE_SECRET_KEY"),
    env("SUPABASE_SERVICE_ROLE_KEY"),
  ];
  return { keys: keys.filter((key): key is string => Boolean(key)), url: env("SUPABASE_URL") };
}

/** Values of a JSON object of texts; none for anything else. */
function named(text: string | undefined): string[] {
  try {
    const values = Object.values(JSON.parse(text ?? "{}") ?? {});
    return values.filter((value): value is string => typeof value === "string");
  } catch {
    return [];
  }
}

/** Throws Unauthorized, or ServiceError if nothing can be checked. */
export async function checkCaller(request: Request, project: Project): Promise<void> {
  if (project.url === undefined && project.keys.length === 0) return; // tried without Supabase
  if (project.keys.length === 0) {
    const details = "Neither SUPABASE_PUBLISHABLE_KEYS nor SUPABASE_ANON_KEY holds a key";
    throw new ServiceError("The function has no keys to check callers with", 500, details);
  }
  const apikey = request.headers.get("apikey");
  const token = /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  for (const given of [apikey, token]) {
    if (given && await isOneOf(given, project.keys)) return;
  }
  if (token && isJwt(token) && project.url && await isUser(token, project.url, project.keys[0]!)) return;
  if (!apikey && !token) throw new Unauthorized("Send the project's publishable key in the header apikey");
  throw new Unauthorized(
    "The header apikey holds none of the project's keys, nor Authorization a user's token",
  );
}

/** Compares in constant time, by digests of equal length. */
async function isOneOf(given: string, keys: string[]): Promise<boolean> {
  const digest = async (text: string) =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  const wanted = await digest(given);
  let found = false;
  for (const key of keys) {
    const difference = (await digest(key)).reduce((sum, byte, i) => sum | (byte ^ wanted[i]!), 0);
    found = difference === 0 || found;
  }
  return found;
}

function isJwt(token: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token);
}

/** Asks Supabase Auth: it knows every kind of signing key, and which sessions have ended. */
async function isUser(token: string, url: string, apikey: string): Promise<boolean> {
  let response: Response;
  try {
    response = await fetch(new URL("/auth/v1/user", url), {
      headers: { apikey, authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(AUTH_TIMEOUT_MS),
    });
    await response.body?.cancel();
  } catch {
    throw unchecked("No answer from Supabase Auth");
  }
  if (response.status >= 500) throw unchecked(`Supabase Auth answered ${response.status}`);
  return response.ok;
}

function unchecked(details: string): ServiceError {
  return new ServiceError("The user's token cannot be checked", 503, details, "5");
}
