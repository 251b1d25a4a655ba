/** The example page's reading of tracks, by supabase-js. */

import assert from "node:assert/strict";
import { createClient } from "npm:@supabase/supabase-js@2.109.0";
import { latest, listen } from "../example/tracks.js";
import { ID } from "./world.ts";

const OPTIONS = { auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false } };

Deno.test("the page shows the latest tracks, the oldest of them first", async () => {
  const asked: string[] = [];
  const answer: typeof fetch = (input) => {
    asked.push(new URL(String(input)).search);
    return Promise.resolve(Response.json([{ id: "new" }, { id: "old" }]));
  };
  const client = createClient("http://project", "key", { ...OPTIONS, global: { fetch: answer } });
  assert.deepEqual((await latest(client)).map(({ id }) => id), ["old", "new"]);
  assert.deepEqual(asked, ["?select=*&order=created_at.desc&limit=50"]);
});

Deno.test("the channel of a track that has ended is left", async () => {
  const answers: unknown[] = [{ id: ID, status: "running" }, { id: ID, status: "ready" }];
  const answer: typeof fetch = () => Promise.resolve(Response.json(answers.shift()));
  const client = createClient("http://project", "key", { ...OPTIONS, global: { fetch: answer } });
  let message = () => Promise.resolve();
  let joined = (_status: string) => {};
  const left: unknown[] = [];
  const channel = {
    on: (_type: string, _filter: unknown, read: typeof message) => (message = read, channel),
    subscribe: (tell: typeof joined) => (joined = tell, channel),
  };
  client.channel = (() => channel) as unknown as typeof client.channel;
  client.removeChannel = (one: unknown) => (left.push(one), Promise.resolve("ok" as const));
  const shown: string[] = [];
  const first = Promise.withResolvers<void>();
  listen(client, ID, (row) => (shown.push(row.status), first.resolve()));
  joined("SUBSCRIBED");
  await first.promise;
  assert.deepEqual(left, []);
  await message();
  assert.deepEqual([shown, left], [["running", "ready"], [channel]]);
});
