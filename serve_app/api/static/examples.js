/** Prompts to begin with. */

const EXAMPLES = [
  "lofi beat with piano, 80 bpm",
  "calm ambient pad, no drums",
  "energetic techno with synth lead, 130 bpm",
  "sad strings, minor key, slow tempo",
];
const prompt = document.getElementById("prompt");

for (const example of EXAMPLES) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = example;
  button.onclick = () => {
    prompt.value = example;
    prompt.focus();
  };
  document.getElementById("examples").append(button);
}
