/** The panel "Use this by API": a program of what the form has, in the chosen language. */

import { programs } from "./api_code.js";
import { hasKey } from "./client.js";
import * as clipboard from "./clipboard.js";
import { save } from "./download.js";
import * as settings from "./settings.js";
import * as sound from "./sound_input.js";

const $ = (id) => document.getElementById(id);
let language = "curl";

function draw() {
  if (!$("api").open) return;
  const address = `${location.origin}${location.pathname}`;
  const used = sound.use();
  $("api-code").textContent = programs(settings.readWithoutSound(), used, address, hasKey())[language];
  $("api-sound").hidden = used === null;
  $("api-sound").textContent = `Download ${used?.file}`;
  for (const button of $("api-languages").children) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
}

$("api-languages").onclick = (event) => {
  language = event.target.dataset.language ?? language;
  draw();
};
$("api-copy").onclick = async () => {
  const isCopied = await clipboard.copy($("api-code").textContent);
  $("api-copy").textContent = isCopied ? "Copied" : "Select the text to copy it";
  setTimeout(() => $("api-copy").textContent = "Copy the program", 2_000);
};
$("api-sound").onclick = () => save(sound.content(), sound.use().file);
$("api").ontoggle = draw;
$("form").addEventListener("input", draw);
document.addEventListener("settings", draw); // also those that the page sets itself
