/** Supabase Edge Function `music-webhook`: takes the music service's messages about jobs. */

import { projectFrom } from "../_shared/caller.ts";
import { handle } from "./handler.ts";

const env = (name: string) => Deno.env.get(name);

Deno.serve((request) => handle(request, projectFrom(env), env));
