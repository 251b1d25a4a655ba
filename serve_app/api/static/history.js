/** The list of tracks, the newest first. */

import { TrackCard } from "./track_card.js";

const list = document.getElementById("history");
const cards = new Map(); // TrackCard by the id of its track
const unmarked = document.createElement("p");
let formats = []; // of downloads

/** Offers these formats for download. offered: [{ name, label, extension }] */
export function offer(offered) {
  formats = offered;
  for (const card of cards.values()) card.offer(formats);
}

/** Reserves a place at the top, for a track that is being made. */
export function reserve() {
  const place = document.createElement("li");
  place.hidden = true;
  list.prepend(place);
  return place;
}

/** Adds a track. actions: see TrackCard; place: a reserved one, "top" or "end"; live: its live sound, or null */
export function add(track, actions, place, live = null) {
  const card = new TrackCard(track, actions);
  cards.set(track.id, card);
  card.offer(formats);
  if (place === "top") list.prepend(card.element);
  else if (place === "end") list.append(card.element);
  else place.replaceWith(card.element);
  card.show(live);
  drawEmpty();
}

/** Removes a track; the focus goes to the next one that is shown. Returns the place that it had. */
export function remove(id) {
  const card = cards.get(id);
  if (!card) return null;
  const { element } = card;
  const hadFocus = element.contains(document.activeElement);
  const next = neighbour(element);
  const place = reserve();
  element.replaceWith(place);
  card.close();
  cards.delete(id);
  drawEmpty();
  if (hadFocus) (next?.querySelector("button") ?? document.getElementById("prompt")).focus();
  return place;
}

/** The card after this one, else the one before, of those that are shown. */
function neighbour(element) {
  const shown = [...list.children].filter((one) => one === element || one.checkVisibility());
  const at = shown.indexOf(element);
  return shown[at + 1] ?? shown[at - 1];
}

/** Marks a track that the browser has stored. */
export function markKept(id) {
  cards.get(id)?.element.setAttribute("data-kept", "");
}

/** Shows the favourites alone, or all tracks. Where none is marked, the style sheet shows a word of it. */
export function showFavourites(areAlone) {
  list.classList.toggle("favourites-alone", areAlone);
}

function drawEmpty() {
  document.getElementById("empty").hidden = cards.size > 0;
  document.getElementById("favourites").hidden = cards.size === 0;
}

unmarked.className = "unmarked";
unmarked.textContent = "No track is marked as a favourite: the star of a track marks it.";
list.after(unmarked);
