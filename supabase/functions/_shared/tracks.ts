/** The table `tracks` and the bucket of the same name. */

import { createClient, type PostgrestError, type SupabaseClient } from "npm:@supabase/supabase-js@2.109.0";
import type { Project, User } from "./caller.ts";
import { FunctionError } from "./errors.ts";

export type Status = "queued" | "running" | "ready" | "failed" | "canceled";

/** Row of a track. request: the page's fields; progress: 0 to 1; path: of its file in the bucket. */
export interface Row {
  id: string;
  user_id: string;
  request: unknown;
  prompt: string;
  status: Status;
  progress: number;
  job_id: string | null;
  path: string | null;
  error: string | null;
}

const UNFINISHED: Status[] = ["queued", "running"];
const OPTIONS = { auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false } };

/** Client with the rights of a user: row level security holds. */
export function asUser(project: Project, user: User): SupabaseClient {
  const headers = { Authorization: `Bearer ${user.token}` };
  return createClient(project.url!, project.keys[0]!, { ...OPTIONS, global: { headers } });
}

/** Client with the secret key, which row level security does not bind. */
export function asProject(project: Project): SupabaseClient {
  const key = project.secretKeys[0];
  if (!project.url || !key) {
    const details = "SUPABASE_URL, or SUPABASE_SECRET_KEYS and SUPABASE_SERVICE_ROLE_KEY, are missing";
    throw new FunctionError("The function has no secret key", 500, details);
  }
  return createClient(project.url, key, OPTIONS);
}

/** Adds a row. Returns false if a row has this id. Throws FunctionError. */
export async function insert(
  client: SupabaseClient,
  row: Pick<Row, "id" | "request" | "prompt">,
): Promise<boolean> {
  const { error } = await client.from("tracks").insert(row);
  if (error?.code === "23505") return false;
  if (error?.code === "PT429") {
    const details = "Ten of your tracks are unfinished: wait for one of them, or cancel it";
    throw new FunctionError("Too many tracks", 429, details, "30");
  }
  if (error) throw failed(error);
  return true;
}

/** Reads a row that the client may see. */
export async function find(client: SupabaseClient, id: string): Promise<Row | null> {
  const { data, error } = await client.from("tracks").select("*").eq("id", id).maybeSingle();
  if (error) throw failed(error);
  return data;
}

/** The oldest rows that the service has not accepted yet. */
export async function unsent(client: SupabaseClient, limit: number): Promise<Row[]> {
  const query = client.from("tracks").select("*").eq("status", "queued").is("job_id", null);
  const { data, error } = await query.order("created_at").limit(limit);
  if (error) throw failed(error);
  return data;
}

/** Records the job of a track; returns the row as it is then, null if it was deleted. */
export async function setJob(client: SupabaseClient, id: string, jobId: string): Promise<Row | null> {
  const query = client.from("tracks").update({ job_id: jobId }).eq("id", id);
  const { data, error } = await query.select().maybeSingle();
  if (error) throw failed(error);
  return data;
}

/** Changes a track that has not ended. Returns whether there was one: repeats and late messages change nothing. */
export async function change(client: SupabaseClient, id: string, values: Partial<Row>): Promise<boolean> {
  const query = client.from("tracks").update(values).eq("id", id).in("status", UNFINISHED);
  const { data, error } = await query.select("id");
  if (error) throw failed(error);
  return data.length > 0;
}

/** Stores the file of a track, streamed; a repeat replaces it by the same. */
export async function upload(
  client: SupabaseClient,
  path: string,
  body: ReadableStream<Uint8Array>,
  contentType: string,
): Promise<void> {
  const options = { upsert: true, contentType, duplex: "half" };
  const { error } = await client.storage.from("tracks").upload(path, body, options);
  if (error) throw new FunctionError("The file could not be stored", 503, error.message, "10");
}

/** Reads a file that the client may see; null: there is none. Throws FunctionError. */
export async function download(client: SupabaseClient, path: string): Promise<Blob | null> {
  const { data, error } = await client.storage.from("tracks").download(path);
  if (data !== null) return data;
  const status = (error as { status?: number } | null)?.status ?? 500;
  if (status >= 400 && status < 500) return null;
  throw new FunctionError("The file could not be read", 503, error?.message ?? "No answer of the storage", "10");
}

/** Removes a file; none is no error. */
export async function remove(client: SupabaseClient, path: string): Promise<void> {
  const { error } = await client.storage.from("tracks").remove([path]);
  if (error) throw new FunctionError("The file could not be removed", 503, error.message, "10");
}

function failed(error: PostgrestError): FunctionError {
  return new FunctionError("The database did not answer as expected", 503, error.message, "10");
}
