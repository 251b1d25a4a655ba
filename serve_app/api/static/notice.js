/** A short message at the edge of the page, with an action at most. */

const SHOWN_MS = 8_000;

const $ = (id) => document.getElementById(id);
let timer = null;

/** Shows a message. action: { label, act() }, or null */
export function show(message, action = null) {
  clearTimeout(timer);
  $("notice-text").textContent = message;
  $("notice-action").hidden = action === null;
  $("notice-action").textContent = action?.label ?? "";
  $("notice-action").onclick = () => {
    hide();
    action.act();
  };
  timer = setTimeout(hide, SHOWN_MS);
}

function hide() {
  $("notice-text").textContent = "";
  $("notice-action").hidden = true;
}
