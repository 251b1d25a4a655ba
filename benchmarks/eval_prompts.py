"""Evaluation prompts of the embedded model, none of which is in its training data."""

import re
from dataclasses import dataclass, replace

from tools.nano.codes import EXAMPLES, prompts_of
from tools.nano.prompts import random_example
from tools.nano.score import Score
from tools.nano.words import DRUM_WORDS, ENERGY_WORDS, LEAD_WORDS, MOOD_WORDS

HELD_OUT_SEED = 5_000_000
BRIGHT_LEADS = ("bells", "trumpet", "strings", "lead")
SAME_PROMPT = "calm piano, 90 bpm"
LENGTH = r", \d+ s$"
UNKNOWN_PROMPT = "zither nebula over frozen lagoons"  # words beyond the vocabulary
TEMPOS = (62, 74, 86, 98, 110, 122, 134, 146, 158, 174)


@dataclass(frozen=True)
class EvalPrompt:
    """A prompt and a score that matches it. Prompts of a group differ in lead and energy alone."""

    score: Score
    prompt: str
    group: int | None = None

    @property
    def names_tempo(self) -> bool:
        return f"{self.score.bpm}bpm" in self.prompt.replace(" ", "")

    @property
    def names_mode(self) -> bool:
        words = self.prompt.lower().replace(",", "").split()
        return any(word in words for word in (self.score.mode, *MOOD_WORDS[self.score.mode]))


def eval_prompts(free: int = 20) -> list[EvalPrompt]:
    """Forty prompts in groups of four (two leads, two energies), then `free` random held-out ones.

    The four prompts of a group come in the order bright calm, bright energetic, dark calm, dark
    energetic. Raises ValueError if a prompt of a group is in the training data.
    """
    trained = {
        re.sub(LENGTH, "", prompt) for seed in range(EXAMPLES) for prompt in prompts_of(seed)
    }
    found = [prompt for group in range(len(TEMPOS)) for prompt in _group(group)]
    if seen := trained & {prompt.prompt for prompt in found}:
        raise ValueError(f"the training data has {seen}; change TEMPOS")
    seed = HELD_OUT_SEED
    while len(found) < 4 * len(TEMPOS) + free:
        score, text = random_example(seed)
        if score.length_s is None and text not in trained:  # the service adds the length
            found.append(EvalPrompt(score, text))
        seed += 1
    return found


def _group(group: int) -> list[EvalPrompt]:
    mode = ("major", "minor")[group % 2]
    bright = ("bells", "flute")[group // 2 % 2]
    dark = ("bass", "pad")[group // 3 % 2]
    return [_prompt(group, lead, mode, energy) for lead in (bright, dark) for energy in (0, 2)]


def _prompt(group: int, lead: str, mode: str, energy: int) -> EvalPrompt:
    groove = "soft" if energy == 0 else "straight"
    score = Score("C", mode, TEMPOS[group], lead, groove, energy)
    score = replace(score, tonic=score.homes[0], piece=group)
    energy_word = ENERGY_WORDS[energy][group % len(ENERGY_WORDS[energy])]
    mood = MOOD_WORDS[mode][group % len(MOOD_WORDS[mode])]
    text = f"{energy_word} {LEAD_WORDS[lead][0]}, {mood} mood"
    text = f"{text}, {mode} key, {DRUM_WORDS[groove][0]}, {score.bpm} bpm"
    return EvalPrompt(score, text, group)
