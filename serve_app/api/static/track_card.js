/** The card of a track: its facts, its player and what can be done with it. */

import { TrackPlayer } from "./track_player.js";

const template = document.getElementById("track");
const LONGEST_NAME = 40; // characters of the prompt in the names of controls
const KEYS = "Space plays, arrow keys move; [ and ] begin and end a repeated part here, L repeats.";
const REPEATING = ["again", "more"]; // actions that need all that the track was made from

export class TrackCard {
  /**
   * track: { id, fields, model, seed, license, file, peaks, durationS, generationS, costUsd, isFavourite,
   *   isRepeatable: false where the page lacks what it was made from, ending: why it ended early, or null }
   * actions: { again, more, extend, link, favour, remove }, each of them a function of the track, and
   *   download(track, format)
   */
  constructor(track, actions) {
    this.track = track;
    this.actions = actions;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.querySelector("h3").textContent = nameOf(track);
    this.element.querySelector(".facts").textContent = facts(track);
    this.element.querySelector("audio").setAttribute("aria-label", nameOf(track));
    for (const name of ["again", "more", "extend", "link", "remove"]) this.#bind(name);
    this.#button("favour").onclick = () => this.#favour();
    this.#drawFavourite();
    for (const control of this.element.querySelectorAll("button, .wave")) this.#nameControl(control);
    this.element.querySelector(".wave").title = KEYS;
    this.element.querySelector(".wave").setAttribute("aria-keyshortcuts", "[ ] L");
  }

  /** Shows the player, once the card is in the page. live: the sound of a track that was made while it is heard */
  show(live) {
    this.player = new TrackPlayer(this.element, this.track, shortened(nameOf(this.track)));
    if (live && !live.isStopped) this.player.follow(live);
  }

  /** Offers formats for download: [{ name, label, extension }]. */
  offer(formats) {
    this.element.querySelector(".downloads").replaceChildren(...formats.map((format) => this.#download(format)));
  }

  close() {
    this.player.close();
  }

  #button(action) {
    return this.element.querySelector(`[data-action=${action}]`);
  }

  #bind(name) {
    const button = this.#button(name);
    button.onclick = () => this.actions[name](this.track);
    if (REPEATING.includes(name)) button.disabled = !this.track.isRepeatable || this.track.seed === null;
  }

  /** Adds the track to the name that is seen or spoken. */
  #nameControl(control, name = control.textContent.trim() || control.getAttribute("aria-label")) {
    control.setAttribute("aria-label", `${name}: ${shortened(nameOf(this.track))}`);
  }

  async #favour() {
    this.track.isFavourite = !this.track.isFavourite;
    await this.actions.favour(this.track);
    this.#drawFavourite();
  }

  #drawFavourite() {
    this.#button("favour").setAttribute("aria-pressed", String(this.track.isFavourite));
    this.element.classList.toggle("favourite", this.track.isFavourite);
  }

  #download(format) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = format.label;
    button.dataset.format = format.name;
    this.#nameControl(button, `Download as ${format.label}`);
    button.onclick = () => this.#save(button, format);
    return button;
  }

  /** Downloads the track; a second click waits for the first one's file. */
  async #save(button, format) {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    await this.actions.download(this.track, format);
    button.ariaBusy = "false";
  }
}

function nameOf({ fields }) {
  if (fields.prompt) return fields.prompt;
  return fields.melody ? "A melody" : "A continued sound";
}

function shortened(text) {
  const letters = [...text];
  return letters.length > LONGEST_NAME ? `${letters.slice(0, LONGEST_NAME - 1).join("")}…` : text;
}

function facts(track) {
  const cost = track.costUsd === null ? [] : [`$${track.costUsd.toFixed(5)}`];
  const made = `${track.durationS.toFixed(1)} s of audio in ${track.generationS.toFixed(1)} s`;
  const seed = track.seed === null ? [] : [`seed ${track.seed}`];
  const ending = track.ending ? [track.ending] : [];
  return [...ending, made, track.model, ...seed, ...cost, `weights: ${track.license}`].join(" · ");
}
