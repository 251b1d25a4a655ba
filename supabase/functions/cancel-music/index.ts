/** Supabase Edge Function `cancel-music`: cancels a track of the caller. */

import { projectFrom } from "../_shared/caller.ts";
import { handle } from "./handler.ts";

const env = (name: string) => Deno.env.get(name);

Deno.serve((request) => handle(request, projectFrom(env), env));
