/** Prompts to begin with: a genre, a mood, or both. */

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
  chosen[kind] = chosen[kind] === text ? "" : text;
  mark();
  prompt.value = [chosen.mood, chosen.genre].filter(Boolean).join(" ");
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
  prompt.focus();
}

function mark() {
  for (const kind of ["genre", "mood"]) {
    for (const button of document.querySelectorAll(`[data-${kind}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[kind] === chosen[kind]));
    }
  }
}

/** A prompt of the user's own is no preset. */
prompt.addEventListener("input", (event) => {
  if (!event.isTrusted) return;
  chosen.genre = chosen.mood = "";
  mark();
});
offer("genres", Object.entries(GENRES), "genre");
offer("moods", MOODS.map((mood) => [mood, mood]), "mood");
