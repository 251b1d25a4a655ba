/** Check of the caller: one of the project's API keys, or the token of a user who is signed in. */

import { ServiceError, Unauthorized } from "./errors.ts";

const AUTH_TIMEOUT_MS = 5_000;

/**
 * API keys of the project, its secret ones among them, and its URL. Without keys and URL, the function does not run
 * on Supabase.
 */
export interface Project {
  keys: string[];
  secretKeys: string[];
  url: string | undefined;
}

/** A user who is signed in. */
export interface User {
  id: string;
  token: string;
}

/**
 * Reads what the platform gives each function: dictionaries of publishable and secret keys
 * (`sb_publishable_…`, `sb_secret_…`, not JWTs), and the legacy keys, which are JWTs.
 */
export function projectFrom(env: (name: string) => string | undefined): Project {
  const publishable = keysFrom(env, "PUBLISHABLE", "SUPABASE_ANON_KEY");
  const secretKeys = keysFrom(env, "SECRET", "SUPABASE_SERVICE_ROLE_KEY");
  return { keys: [...publishable, ...secretKeys], secretKeys, url: env("SUPABASE_URL") };
}

function keysFrom(env: (name: string) => string | undefined, kind: string, legacy: string): string[] {
  const keys = [...named(env(`SUPABASE_${kind}_KEYS`)), env(`SUPABASE_${kind}_KEY`), env(legacy)];
  return keys.filter((key): key is string => Boolean(key));
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
  const token = tokenOf(request);
  for (const given of [apikey, token]) {
    if (given && await isOneOf(given, project.keys)) return;
  }
  if (token && await userOf(token, project)) return;
  if (!apikey && !token) throw new Unauthorized("Send the project's publishable key in the header apikey");
  throw new Unauthorized(
    "The header apikey holds none of the project's keys, nor Authorization a user's token",
  );
}

/** Finds the user of the request's token. Throws Unauthorized, or ServiceError if Supabase Auth is silent. */
export async function checkUser(request: Request, project: Project): Promise<User> {
  const token = tokenOf(request);
  const user = token && await userOf(token, project);
  if (!user) throw new Unauthorized("Sign in: Authorization holds no valid token of a user");
  return user;
}

/** Throws Unauthorized unless the header apikey or Authorization holds a secret key of the project. */
export async function checkSecretKey(request: Request, project: Project): Promise<void> {
  for (const given of [request.headers.get("apikey"), tokenOf(request)]) {
    if (given && await isOneOf(given, project.secretKeys)) return;
  }
  throw new Unauthorized("Send a secret key of the project in the header apikey");
}

function tokenOf(request: Request): string | undefined {
  return /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
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
async function userOf(token: string, { url, keys }: Project): Promise<User | null> {
  if (!url || !isJwt(token)) return null;
  let response: Response;
  let answer: { id?: unknown } | null;
  try {
    response = await fetch(new URL("/auth/v1/user", url), {
      headers: { apikey: keys[0] ?? "", authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(AUTH_TIMEOUT_MS),
    });
    answer = await response.json().catch(() => null);
  } catch {
    throw unchecked("No answer from Supabase Auth");
  }
  if (response.status >= 500) throw unchecked(`Supabase Auth answered ${response.status}`);
  return response.ok && typeof answer?.id === "string" ? { id: answer.id, token } : null;
}

function unchecked(details: string): ServiceError {
  return new ServiceError("The user's token cannot be checked", 503, details, "5");
}
