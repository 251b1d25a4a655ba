/** The one sound of the page: a track that begins to play stops the one before. */

const $ = (id) => document.getElementById(id);
let current = null; // { stop(), isLive }

/** Announces that a sound begins. sound: { stop(), isLive: whether its track is still being made or has just been } */
export function begin(sound) {
  if (sound === current) return;
  current?.stop();
  current = sound;
  draw();
}

/** Announces that a sound has ended or pauses. */
export function end(sound) {
  if (sound !== current) return;
  current = null;
  draw();
}

/** Stops what plays. Returns whether there was a sound. */
export function stop() {
  const sound = current;
  current = null;
  sound?.stop();
  draw();
  return sound !== null;
}

/** A live sound has no card with controls yet, so the page has a button for it. */
function draw() {
  const button = $("silence");
  const hadFocus = document.activeElement === button;
  button.hidden = !current?.isLive;
  if (button.hidden && hadFocus) $("generate").focus();
}

$("silence").onclick = stop;
