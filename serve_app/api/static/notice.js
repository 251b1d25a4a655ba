/** A short message at the edge of the page, with an action at most. */

const SHOWN_MS = 8_000;

const $ = (id) => document.getElementById(id);
const button = $("notice-action");
const holds = new Set(); // why the message stays: it is pointed at, or has the focus
let timer = null;
let offered = null; // the action of the message
let before = null; // element that had the focus before the action

/** Shows a message. action: { label, act(), lapse(): at its end without a click, if given }, or null */
export function show(message, action = null) {
  $("notice-text").textContent = message;
  offer(action);
  countDown();
}

/** Offers an action in place of the one before. The focus leaves a button that is hidden. */
function offer(action) {
  offered?.lapse?.();
  offered = action;
  const hadFocus = document.activeElement === button;
  button.hidden = action === null;
  button.textContent = action?.label ?? "";
  if (hadFocus && button.hidden) (before?.checkVisibility() ? before : $("prompt")).focus();
}

/** Counts the time of the message from here, unless something holds it. */
function countDown() {
  clearTimeout(timer);
  if (holds.size === 0) timer = setTimeout(hide, SHOWN_MS);
}

function hide() {
  $("notice-text").textContent = "";
  offer(null);
}

function hold(reason) {
  holds.add(reason);
  countDown();
}

function release(reason) {
  holds.delete(reason);
  countDown();
}

button.onclick = () => {
  const { act } = offered;
  offered = null;
  hide();
  act();
};
button.onfocus = (event) => before = event.relatedTarget;
for (const [begins, ends] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
  $("notice").addEventListener(begins, () => hold(begins));
  $("notice").addEventListener(ends, () => release(begins));
}
