/** Prompts written from the fields. */

import assert from "node:assert/strict";
import { energyLevel, writePrompt } from "../functions/generate-music/prompt.ts";
import { parseRequest } from "../functions/generate-music/request.ts";

const prompt = (fields: Record<string, unknown>) =>
  writePrompt(parseRequest({ mood: "happy", genres: ["lofi"], energy: "Medium", ...fields }));

Deno.test("all fields", () => {
  const visualElements = { instruments: ["harp", "cello", "flute", "drums"], colors: ["red"] };
  assert.equal(
    prompt({ mood: "nostalgic", genres: ["folk"], tempo_bpm: 80, energy: 2, visualElements, styleLevel: 9 }),
    "modern folk, nostalgic mood, slow tempo, with harp and cello and flute, polished production, instrumental, " +
      "gentle dynamics, high quality production",
  );
});

Deno.test("a custom prompt is used as it is", () => {
  assert.equal(prompt({ customPrompt: " sea shanty, 90 bpm " }), "sea shanty, 90 bpm");
});

Deno.test("10 to 25 words", () => {
  for (const styleLevel of [0, 5, 10]) {
    for (const vocalType of ["instrumental", "minimal-vocals", "vocal-focused"]) {
      for (const genres of [["lofi"], ["jazz", "soul", "funk"]]) {
        const words = prompt({ styleLevel, vocalType, genres }).replaceAll(",", "").split(" ");
        assert(words.length >= 10 && words.length <= 25, words.join(" "));
      }
    }
  }
});

Deno.test("eras at the ends of the style level", () => {
  assert(prompt({ styleLevel: 1 }).startsWith("vintage lofi, "));
  assert(prompt({ styleLevel: 5 }).startsWith("lofi, "));
  assert(prompt({ styleLevel: 9 }).startsWith("modern lofi, "));
  assert.match(prompt({ styleLevel: 1 }), /lo-fi production/);
  assert.match(prompt({ styleLevel: 5 }), /clean mix/);
  assert.match(prompt({ styleLevel: 9 }), /polished production/);
});

Deno.test("tempo in words, from the beats a minute or else from the energy", () => {
  const words = [[50, "very slow"], [80, "slow"], [110, "medium"], [140, "fast"], [200, "very fast"]];
  for (const [tempo_bpm, word] of words) assert.match(prompt({ tempo_bpm }), new RegExp(`, ${word} tempo, `));
  assert.match(prompt({ energy: "Low" }), /, slow tempo, /);
  assert.match(prompt({ energy: 9 }), /, fast tempo, /);
  assert.match(prompt({ energy: undefined }), /, medium tempo, /);
});

Deno.test("instruments: those named, at most three, or the genre's usual ones", () => {
  assert.match(prompt({ visualElements: { instruments: ["harp"] } }), /with harp, /);
  assert.match(prompt({ genres: ["Lo-Fi Hip Hop"] }), /with mellow piano and soft drums, /);
  assert.match(
    prompt({ genres: ["zouk"], visualElements: { instruments: ["", " "] } }),
    /with piano and drums, /,
  );
});

Deno.test("dynamics and vocals", () => {
  assert.match(prompt({ energy: "High" }), /powerful dynamics/);
  assert.match(prompt({ energy: "Low" }), /gentle dynamics/);
  assert.match(prompt({ vocalType: "vocal-focused" }), /expressive vocals/);
  assert.match(prompt({ vocalType: "minimal-vocals" }), /minimal vocals/);
});

Deno.test("energy, as callers send it", () => {
  const levels = [["High", "high"], ["Low", "low"], ["Medium", "medium"], [0, "low"], [5, "medium"], [
    10,
    "high",
  ]];
  for (const [energy, level] of levels) assert.equal(energyLevel(energy), level);
  assert.equal(energyLevel("very calm"), "low");
  assert.equal(energyLevel("follow the wind"), "medium");
});

Deno.test("a field cannot add parts to the prompt", () => {
  assert.match(prompt({ mood: "happy,\n\n  bright" }), /^lofi, happy bright mood, /);
});
