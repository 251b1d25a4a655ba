/** Supabase Edge Function `generate-music`: the front end's fields -> a track, made by the music service. */

import { handle } from "./handler.ts";
import { settingsFrom } from "./service.ts";

Deno.serve((request) => handle(request, () => settingsFrom((name) => Deno.env.get(name))));
