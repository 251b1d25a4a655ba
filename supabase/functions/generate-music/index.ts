/** Supabase Edge Function `generate-music`: makes a track from the fields of the front end. */

import { projectFrom } from "../_shared/caller.ts";
import { handle } from "./handler.ts";
import { settingsFrom } from "./service.ts";

const env = (name: string) => Deno.env.get(name);

Deno.serve((request) => handle(request, () => settingsFrom(env), () => projectFrom(env), env));
