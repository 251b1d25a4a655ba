/** Prompts to begin with: a genre, a mood, or both, around the words of the user. */

const GENRES = {
  "Lofi beat": "lofi beat with piano, 80 bpm",
  "Ambient": "ambient pad, slow, no drums",
  "Techno": "techno with synth lead, 130 bpm",
  "Classical": "string quartet, classical",
  "Jazz": "jazz trio with upright bass and brushes, 110 bpm",
  "Rock": "rock with electric guitars and drums, 120 bpm",
  "Folk": "folk with acoustic guitar and flute, 95 bpm",
  "Hip hop": "hip hop with deep bass and crisp drums, 90 bpm",
  "Film score": "film score with full orchestra",
  "Chiptune": "8-bit chiptune melody, 140 bpm",
};
const MOODS = ["calm", "happy", "energetic", "sad", "dark", "dreamy", "tense", "triumphant"];

const prompt = document.getElementById("prompt");
const chosen = { genre: "", mood: "" };
let own = ""; // words of the user

/** Shows the presets in `box`. */
function offer(id, texts, kind) {
  for (const [label, text] of texts) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => choose(kind, text);
    button.dataset[kind] = text;
    document.getElementById(id).append(button);
  }
}

/** Chooses a genre or a mood, or takes the choice back. */
function choose(kind, text) {
  look();
  own = without(own.trim(), text);
  chosen[kind] = chosen[kind] === text ? "" : text;
  mark();
  write(whole());
}

function whole() {
  const begun = [chosen.mood, own].filter(Boolean).join(" ");
  return [begun, chosen.genre].filter(Boolean).join(own ? ", " : " ");
}

/** The user's words without those of a preset, which has put them there before. */
function without(words, text) {
  if (words === text) return "";
  if (words.startsWith(`${text} `)) return words.slice(text.length + 1);
  return words.endsWith(`, ${text}`) ? words.slice(0, -text.length - 2) : words;
}

/** Replaces the prompt as typing does, so that the browser can undo it. */
function write(text) {
  prompt.focus();
  prompt.select();
  if (document.execCommand(text ? "insertText" : "delete", false, text)) return;
  prompt.value = text;
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
}

function mark() {
  for (const kind of ["genre", "mood"]) {
    for (const button of document.querySelectorAll(`[data-${kind}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[kind] === chosen[kind]));
    }
  }
}

/** Takes a prompt that is not of the presets for the user's own: it was typed, undone, or set by a link or a track. */
function look() {
  if (prompt.value === whole()) return;
  own = prompt.value;
  chosen.genre = chosen.mood = "";
  mark();
}

prompt.addEventListener("input", look);
document.addEventListener("settings", look);
offer("genres", Object.entries(GENRES), "genre");
offer("moods", MOODS.map((mood) => [mood, mood]), "mood");
