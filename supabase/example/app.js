// @ts-check
/** Example page: asks for tracks, shows their progress, plays and cancels them. It survives a reload. */

import { createClient } from "@supabase/supabase-js";
import { isUnfinished, latest, listen } from "./tracks.js";

/** @typedef {import("./contract.ts").TrackRow} TrackRow */

const { url, key } = /** @type {{ url: string, key: string }} */ (await (await fetch("config.json")).json());
const supabase = createClient(url, key);
const form = element("form");
const list = element("tracks");

/** @type {Map<string, { item: HTMLElement, audio: HTMLAudioElement | null }>} */
const shown = new Map();

/** @param {string} id @returns {HTMLElement} */
function element(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/** @param {string} text */
function say(text) {
  element("message").textContent = text;
}

async function start() {
  const { data } = await supabase.auth.getSession();
  if (data.session === null) {
    const { error } = await supabase.auth.signInAnonymously();
    if (error) return say(error.message);
  }
  await supabase.realtime.setAuth(); // private channels need the user's token
  const rows = await latest(supabase);
  for (const row of rows) await show(row);
  for (const row of rows.filter(isUnfinished)) listen(supabase, row.id, show);
}

/** @param {Event} event */
async function submit(event) {
  event.preventDefault();
  say("");
  const id = crypto.randomUUID();
  const customPrompt = /** @type {HTMLInputElement} */ (element("prompt")).value;
  const { error } = await supabase.functions.invoke("generate-music", { body: { id, customPrompt } });
  if (error) return say(await reason(error));
  listen(supabase, id, show);
}

/** Text of a function's error: the sentence of its answer. @param {any} error */
async function reason(error) {
  const answer = await error.context?.json?.().catch(() => null);
  return answer ? `${answer.error}: ${answer.details}` : String(error.message);
}

/** Show a row, or what has changed of it. @param {TrackRow} row */
async function show(row) {
  const entry = shown.get(row.id) ?? add(row.id);
  const bar = /** @type {HTMLProgressElement} */ (entry.item.querySelector("progress"));
  const text = { queued: "waiting", running: "being made", ready: "", failed: row.error, canceled: "canceled" };
  /** @type {HTMLElement} */ (entry.item.querySelector("p")).textContent = `${row.prompt} ${text[row.status] ?? ""}`;
  bar.value = row.progress;
  bar.hidden = !isUnfinished(row);
  /** @type {HTMLElement} */ (entry.item.querySelector("button")).hidden = !isUnfinished(row);
  if (row.status === "ready" && row.path !== null && entry.audio === null) {
    const { data } = await supabase.storage.from("tracks").createSignedUrl(row.path, 3600);
    if (data === null) return;
    entry.audio = Object.assign(document.createElement("audio"), { src: data.signedUrl, controls: true });
    entry.item.append(entry.audio);
  }
}

/** @param {string} id */
function add(id) {
  const item = document.createElement("li");
  const cancel = Object.assign(document.createElement("button"), { textContent: "Cancel" });
  cancel.addEventListener("click", async () => {
    const { error } = await supabase.functions.invoke("cancel-music", { body: { id } });
    if (error) say(await reason(error));
  });
  item.append(document.createElement("p"), Object.assign(document.createElement("progress"), { max: 1 }), cancel);
  list.prepend(item);
  const entry = { item, audio: null };
  shown.set(id, entry);
  return entry;
}

form.addEventListener("submit", submit);
await start().catch((error) => say(error.message));
