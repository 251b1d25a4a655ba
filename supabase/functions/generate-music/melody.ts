/** Melodies of requests: data URLs, or paths of the user's files in the bucket `tracks`. */

import type { SupabaseClient } from "npm:@supabase/supabase-js@2.109.0";
import { checkUser, type Project } from "../_shared/caller.ts";
import { BadRequest } from "../_shared/errors.ts";
import { asUser, download } from "../_shared/tracks.ts";

/** Largest body of a request: a file of 8 MiB as a data URL, and the other fields. */
export const MOST_BODY_BYTES = 12 * 2 ** 20;
const MOST_FILE_BYTES = 8 * 2 ** 20;
const BYTES_AT_ONCE = 0x8000; // of the arguments of a call

const DATA_URL = /^data:[^,]{0,200};base64,/;
const PATH = /^[\w-]{1,64}(\/[\w-][\w. ()+-]{0,127}){1,4}$/;

/** Whether a field names a melody in one of the two ways. */
export function isMelody(text: string): boolean {
  return DATA_URL.test(text) || PATH.test(text);
}

/** Throws BadRequest unless the melody is a file in the folder of the user, which a row can name. */
export function checkPath(melody: string | undefined, userId: string): void {
  if (melody === undefined) return;
  if (DATA_URL.test(melody)) {
    throw new BadRequest(
      "melody: a track with an id takes the path of a file, not a data URL: upload it to the bucket tracks",
    );
  }
  if (!melody.startsWith(`${userId}/`)) {
    throw new BadRequest(`melody: must be in the user's folder, ${userId}/`);
  }
}

/** The melody of a request without an id, for the service; a file is read as its user. Throws FunctionError. */
export async function melodyFor(
  request: Request,
  melody: string | undefined,
  project: () => Project,
): Promise<string | undefined> {
  if (melody === undefined || DATA_URL.test(melody)) return melody;
  const user = await checkUser(request, project());
  return await melodyAt(asUser(project(), user), melody);
}

/** A file of the bucket in base64. Throws FunctionError. */
export async function melodyAt(client: SupabaseClient, path: string): Promise<string> {
  const file = await download(client, path);
  if (file === null) throw new BadRequest(`melody: there is no file ${path} in the bucket tracks`);
  if (file.size > MOST_FILE_BYTES) {
    throw new BadRequest(`melody: the file has more than ${MOST_FILE_BYTES} bytes`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += BYTES_AT_ONCE) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + BYTES_AT_ONCE)));
  }
  return btoa(parts.join(""));
}
