/** The page: the form, and what happens when it opens. */

import "./api_panel.js";
import * as client from "./client.js";
import * as history from "./history.js";
import * as inputs from "./inputs.js";
import { NO_JOBS } from "./jobs.js";
import "./layout.js";
import { fieldsHere } from "./link.js";
import { LongTracks } from "./long_tracks.js";
import * as models from "./models.js";
import * as notice from "./notice.js";
import * as now from "./now.js";
import * as player from "./player.js";
import "./presets.js";
import * as settings from "./settings.js";
import "./shell.js";
import { fail, hideError, work } from "./tasks.js";
import * as tracks from "./tracks.js";

const LONG_S = 30; // longer tracks are durable jobs, which survive a reload and a lost connection

const $ = (id) => document.getElementById(id);
const form = $("form");
const longTracks = new LongTracks({
  load: inputs.loadParameters,
  keep: tracks.keep,
  fail,
  offer: (hasMore) => $("earlier").hidden = !hasMore,
});

/** Makes a track: a short one is heard while it is made. */
async function start(wanted, task) {
  if (wanted.duration_s <= LONG_S) return tracks.makeHere(wanted, task);
  try {
    await longTracks.make(wanted, task);
  } catch (error) {
    if (error.code !== NO_JOBS) throw error;
    await tracks.makeHere(wanted, task);
  }
}

/** Takes the key, and looks again for what was refused without it. */
function enterKey() {
  client.saveKey($("key").value);
  hideError();
  $("key").removeAttribute("aria-invalid");
  document.dispatchEvent(new Event("settings"));
  if (!models.areLoaded()) models.load().then(openLink).catch(fail);
  longTracks.showEarlier();
}

/** Restores what the page's address names. */
async function openLink() {
  const fields = fieldsHere();
  if (fields === null) return;
  await inputs.loadParameters();
  const isServed = await settings.restore(fields);
  const lacks = isServed ? "" : ` Its model is not served here: ${fields.model}.`;
  notice.show(`The link has set the prompt and the settings.${lacks}`);
}

/** Shows what earlier visits made. */
async function showEarlier() {
  longTracks.know(await tracks.showKept());
  longTracks.showEarlier();
}

form.onsubmit = (event) => {
  event.preventDefault();
  if ($("key").value) enterKey();
  work("Connecting", async (task) => {
    await inputs.load();
    await start(await settings.read(), task);
  });
};
$("key").onchange = enterKey;
$("earlier").onclick = () => {
  $("earlier").hidden = true;
  longTracks.showMore();
};
$("favourites").onclick = () => {
  const areAlone = $("favourites").getAttribute("aria-pressed") !== "true";
  $("favourites").setAttribute("aria-pressed", String(areAlone));
  history.showFavourites(areAlone);
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  if (event.key === "Escape" && !now.cancel()) player.stop();
});
addEventListener("hashchange", () => openLink().catch(fail));
inputs.loadParameters().catch(fail);
models.load().then(openLink).catch(fail);
showEarlier();
