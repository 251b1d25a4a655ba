/** Supabase Edge Function `generate-music`: makes a track from the fields of the front end. */

import { handle } from "./handler.ts";
import { settingsFrom } from "./service.ts";

Deno.serve((request) => handle(request, () => settingsFrom((name) => Deno.env.get(name))));
