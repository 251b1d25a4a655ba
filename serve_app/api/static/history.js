/** The list of tracks, the newest first. */

import { TrackCard } from "./track_card.js";

const list = document.getElementById("history");
const cards = new Map(); // TrackCard by the id of its track
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

/** Removes a track; the focus goes to the next one. Returns the place that it had. */
export function remove(id) {
  const card = cards.get(id);
  if (!card) return null;
  const { element } = card;
  const hadFocus = element.contains(document.activeElement);
  const next = element.nextElementSibling ?? element.previousElementSibling;
  const place = reserve();
  element.replaceWith(place);
  card.close();
  cards.delete(id);
  drawEmpty();
  if (hadFocus) (next?.querySelector("button") ?? document.getElementById("prompt")).focus();
  return place;
}

/** Marks a track that the browser has stored. */
export function markKept(id) {
  cards.get(id)?.element.setAttribute("data-kept", "");
}

/** Shows the favourites alone, or all tracks. */
export function showFavourites(areAlone) {
  list.classList.toggle("favourites-alone", areAlone);
}

function drawEmpty() {
  document.getElementById("empty").hidden = cards.size > 0;
  document.getElementById("favourites").hidden = cards.size === 0;
}
