/** Prompt of 10 to 25 words for MusicGen, written from the fields. */

import type { MusicRequest } from "./request.ts";

const MAX_INSTRUMENTS = 3;

/** Usual instruments of a genre, for requests that name none. The first match counts. */
const USUAL_INSTRUMENTS: [RegExp, string[]][] = [
  [/lo-?fi|hip[- ]?hop|rap|trap/i, ["mellow piano", "soft drums"]],
  [/ambient|chill|new age/i, ["synth pad", "piano"]],
  [/techno|house|trance|edm|electronic|dance|disco/i, ["synth lead", "four on the floor drums"]],
  [/rock|punk|metal|grunge/i, ["electric guitar", "drums"]],
  [/jazz|blues|soul|swing/i, ["piano", "upright bass"]],
  [/classical|orchestr|cinematic|film|epic/i, ["strings", "piano"]],
  [/folk|country|acoustic|indie/i, ["acoustic guitar", "flute"]],
  [/funk|reggae|latin/i, ["bass", "guitar"]],
];
const ANY_INSTRUMENTS = ["piano", "drums"];

export function writePrompt(request: MusicRequest): string {
  const custom = request.customPrompt?.trim();
  if (custom) return custom;
  const energy = energyLevel(request.energy);
  return [
    genre(request),
    `${clean(request.mood ?? "")} mood`,
    tempo(request.tempo_bpm, energy),
    `with ${instruments(request).join(" and ")}`,
    production(request.styleLevel),
    VOCALS[request.vocalType],
    DYNAMICS[energy],
    "high quality production",
  ].join(", ");
}

type Energy = "low" | "medium" | "high";

/** Classifies the energy: callers send a number from 0 to 10, `High`, `Medium`, `Low`, or free text. */
export function energyLevel(energy: MusicRequest["energy"]): Energy {
  if (typeof energy === "number") return energy < 3.5 ? "low" : energy > 6.5 ? "high" : "medium";
  const words = energy ?? "";
  if (/\b(high|intense|energetic|powerful|fast|strong)\b/i.test(words)) return "high";
  if (/\b(low|calm|gentle|soft|slow|relaxed)\b/i.test(words)) return "low";
  return "medium";
}

const DYNAMICS: Record<Energy, string> = {
  low: "gentle dynamics",
  medium: "balanced dynamics",
  high: "powerful dynamics",
};

const VOCALS: Record<MusicRequest["vocalType"], string> = {
  "instrumental": "instrumental",
  "minimal-vocals": "minimal vocals",
  "vocal-focused": "expressive vocals",
};

/** Names up to two genres, with an era for a style level near its bounds. */
function genre(request: MusicRequest): string {
  const genres = (request.genres ?? []).map(clean).filter(Boolean).slice(0, 2).join(" ");
  if (request.styleLevel <= 2) return `vintage ${genres}`;
  return request.styleLevel >= 8 ? `modern ${genres}` : genres;
}

function tempo(bpm: number | undefined, energy: Energy): string {
  if (bpm === undefined) return { low: "slow tempo", medium: "medium tempo", high: "fast tempo" }[energy];
  if (bpm < 70) return "very slow tempo";
  if (bpm < 90) return "slow tempo";
  if (bpm <= 125) return "medium tempo";
  return bpm <= 160 ? "fast tempo" : "very fast tempo";
}

function instruments(request: MusicRequest): string[] {
  const named = (request.visualElements?.instruments ?? []).map(clean).filter(Boolean);
  if (named.length > 0) return named.slice(0, MAX_INSTRUMENTS);
  const genres = (request.genres ?? []).join(" ");
  return USUAL_INSTRUMENTS.find(([genre]) => genre.test(genres))?.[1] ?? ANY_INSTRUMENTS;
}

function production(styleLevel: number): string {
  if (styleLevel <= 3) return "lo-fi production";
  return styleLevel >= 7 ? "polished production" : "clean mix";
}

/** Joins the words to one line without commas, which separate the parts of the prompt. */
function clean(words: string): string {
  return words.replace(/[\s,]+/g, " ").trim();
}
