/** Validation of requests of the front end. */

import assert from "node:assert/strict";
import { BadRequest } from "../functions/_shared/errors.ts";
import { parseRequest } from "../functions/generate-music/request.ts";

const FIELDS = { mood: "happy", genres: ["lofi"], energy: "High" };

function refused(body: unknown): string {
  try {
    parseRequest(body);
  } catch (error) {
    assert(error instanceof BadRequest);
    return error.details;
  }
  throw new Error(`accepted: ${JSON.stringify(body)}`);
}

Deno.test("the defaults", () => {
  const { model, decoder, duration, temperature, styleLevel, vocalType } = parseRequest(FIELDS);
  assert.deepEqual([model, decoder, duration, temperature], ["small", "default", 30, 1]);
  assert.deepEqual([styleLevel, vocalType], [5, "instrumental"]);
});

Deno.test("energy is text or a number", () => {
  for (const energy of ["High", "Medium", "Low", "as the sea in winter", "", 0, 7.5, 10]) {
    assert.equal(parseRequest({ ...FIELDS, energy }).energy, energy);
  }
  for (const energy of [-1, 11, true, "x".repeat(51)]) {
    assert.match(refused({ ...FIELDS, energy }), /^energy: /);
  }
});

Deno.test("optional fields may be empty", () => {
  const empty = { description: "", setting: "", time_of_day: "", visualElements: {} };
  assert.deepEqual(parseRequest({ ...FIELDS, ...empty }).visualElements, {});
});

Deno.test("a custom prompt needs nothing else, and an empty one is none", () => {
  assert.equal(parseRequest({ customPrompt: "sea shanty" }).customPrompt, "sea shanty");
  assert.match(refused({ customPrompt: "  " }), /^mood: Required, .*; genres: Required, /);
});

const BAD: [string, Record<string, unknown>][] = [
  ["mood", { mood: "" }],
  ["mood", { mood: "x".repeat(101) }],
  ["mood", { mood: 5 }],
  ["genres", { genres: [] }],
  ["genres", { genres: Array(11).fill("lofi") }],
  ["genres.0", { genres: ["x".repeat(101)] }],
  ["tempo_bpm", { tempo_bpm: 39 }],
  ["tempo_bpm", { tempo_bpm: 301 }],
  ["tempo_bpm", { tempo_bpm: "fast" }],
  ["description", { description: "x".repeat(501) }],
  ["setting", { setting: "x".repeat(201) }],
  ["time_of_day", { time_of_day: "x".repeat(51) }],
  ["visualElements.colors", { visualElements: { colors: Array(11).fill("red") } }],
  ["visualElements.colors.0", { visualElements: { colors: ["x".repeat(51)] } }],
  ["visualElements.instruments", { visualElements: { instruments: "piano" } }],
  ["model", { model: "huge" }],
  ["decoder", { decoder: "other" }],
  ["duration", { duration: 0 }],
  ["duration", { duration: 31 }],
  ["duration", { duration: "30" }],
  ["temperature", { temperature: 0.05 }],
  ["temperature", { temperature: 2.1 }],
  ["customPrompt", { customPrompt: "x".repeat(501) }],
  ["styleLevel", { styleLevel: 11 }],
  ["vocalType", { vocalType: "opera" }],
];

for (const [field, change] of BAD) {
  Deno.test(`a bad ${field} is named: ${JSON.stringify(change).slice(0, 40)}`, () => {
    assert(refused({ ...FIELDS, ...change }).startsWith(`${field}: `));
  });
}

Deno.test("a body that is not an object is refused", () => {
  for (const body of [null, 5, "text", []]) assert.match(refused(body), /^body: /);
});
