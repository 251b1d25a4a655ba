"""Training examples: scores with prompts that describe them, in users' typical phrasings.

Every function is deterministic in its seed.
"""

import re
import string
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tools.nano.score import Score, random_score
from tools.nano.words import DRUM_WORDS, ENERGY_WORDS, GENRES, LEAD_WORDS, MOOD_WORDS, Genre

LENGTH_PROMPT = ", {seconds} s"  # appended to a prompt


DYNAMICS = ("gentle dynamics", "balanced dynamics", "powerful dynamics")
KEYED = 0.2  # share of examples in a random key, named in the prompt; others have one of two keys
ENDING = 0.85  # share of examples that end, and whose prompts name their length
LONGEST_S = 30
WHOLE = 6_000  # examples of all durations; those of higher seeds are beginnings
BEGINNING_S = 3  # codes of a beginning depend most on the prompt, and cost little to make
PRODUCTION = (
    "polished production",
    "modern production",
    "vintage production",
    "lo-fi production",
    "clean mix",
)
ERAS = ("vintage ", "modern ", "", "", "")
VOCALS = ("instrumental", "instrumental", "minimal vocals", "expressive vocals")
KEY_NAMED = 0.4  # share of lists that may name the key; in others only a mood tells the mode
QUALIFIED = 0.4  # share of leads with the mood, and of drums with the energy, before their name
JOINTS = (", ", ", ", ", ", " ", " ", " with ", " and ")  # between the parts of a list
MEANINGLESS = 0.04  # share of prompts of meaningless words alone
UNKNOWN = 0.2  # share of prompts with meaningless words; catalogues have none

Phrasing = Callable[[Score, str, np.random.Generator], str]


def random_example(seed: int) -> tuple[Score, str]:
    """Draw a score and one prompt for it. Half of the scores belong to a genre."""
    score, genre, rng = _random_example(seed)
    return score, _phrase(score, genre, rng)


def other_prompts(seed: int, count: int) -> list[str]:
    """Draw `count` more prompts for the score of this seed."""
    score, genre, _ = _random_example(seed)
    rng = np.random.default_rng([seed, 6])
    return [_phrase(score, genre, rng) for _ in range(count)]


def duration_s(seed: int) -> int:
    """Draw the duration of the example of this seed: half of the whole ones are short, a quarter longest."""
    if seed >= WHOLE:
        return BEGINNING_S
    rng = np.random.default_rng([seed, 12])
    kind = rng.random()
    if kind < 0.25:
        return LONGEST_S
    return int(rng.integers(12, LONGEST_S) if kind < 0.5 else rng.integers(2, 12))


def with_length(prompt: str, seconds: int) -> str:
    """Name the length of the track in the prompt, as the service does."""
    return prompt + LENGTH_PROMPT.format(seconds=seconds)


def without_length(prompt: str) -> str:
    """Undo `with_length`."""
    before, _, after = LENGTH_PROMPT.partition("{seconds}")
    return re.sub(f"{re.escape(before)}[0-9]+{re.escape(after)}$", "", prompt)


def _random_example(seed: int) -> tuple[Score, str | None, np.random.Generator]:
    """Draw a score and its genre; return them with the generator to phrase the prompt with."""
    rng = np.random.default_rng([seed, 3])
    score = random_score(seed)
    genre = None
    if rng.random() < 0.5:
        genre = str(rng.choice(list(GENRES)))
        score = _of_genre(score, GENRES[genre], rng)
    if rng.random() >= KEYED:
        score = replace(score, tonic=score.homes[rng.integers(2)])
    if rng.random() < ENDING and seed < WHOLE:
        score = replace(score, length_s=duration_s(seed))
    return score, genre, rng


def _tempo(bpm: int, rng: np.random.Generator) -> str:
    """`120 bpm`, `120bpm`, `medium tempo` or `medium`"""
    words = _tempo_words(bpm)
    number = f"{bpm} bpm" if rng.random() < 0.9 else f"{bpm}bpm"
    return number if rng.random() < 0.75 else _pick(rng, (words, words.removesuffix(" tempo")))


def _tempo_words(bpm: int) -> str:
    speed = "slow" if bpm < 90 else "medium" if bpm <= 125 else "fast"
    return f"very {speed} tempo" if bpm < 70 or bpm > 160 else f"{speed} tempo"


def _of_genre(score: Score, genre: Genre, rng: np.random.Generator) -> Score:
    return replace(
        score,
        bpm=int(rng.integers(genre.bpm[0], genre.bpm[1] + 1)),
        lead=str(rng.choice(genre.leads)),
        groove=str(rng.choice(genre.grooves)),
        energy=int(rng.choice(genre.energies)),
    )


def _phrase(score: Score, genre: str | None, rng: np.random.Generator) -> str:
    """Draw a phrasing among those that determine the score's key and genre."""
    at_home = score.tonic in score.homes
    styles: list[Phrasing] = [_sentence, _list, _list]
    if at_home:
        styles += [_short, _short]
    if genre is not None and at_home:
        styles += [_bare, _bare, _catalogue, _catalogue, _catalogue, _catalogue]
    style = styles[rng.integers(len(styles))]
    text = style(score, genre or "", rng)
    if at_home and rng.random() < MEANINGLESS:
        text = _unknown(rng)
    elif style is not _catalogue and rng.random() < UNKNOWN:
        text = f"{text} {_unknown(rng)}" if rng.random() < 0.5 else f"{_unknown(rng)} {text}"
    text = text if rng.random() < 0.7 else text.capitalize()
    return text if score.length_s is None else with_length(text, score.length_s)


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[rng.integers(len(words))]


def _unknown(rng: np.random.Generator) -> str:
    """Draw one to three random words, which the model learns to ignore."""
    letters = list(string.ascii_lowercase)
    return " ".join(
        "".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(rng.integers(1, 4))
    )


def _bare(_: Score, genre: str, rng: np.random.Generator) -> str:
    """`lofi beat`"""
    return f"{genre} {_pick(rng, ('beat', 'music', 'track', 'song', 'loop'))}"


def _short(score: Score, genre: str, rng: np.random.Generator) -> str:
    """`calm ambient piano, 70 bpm`, `happy ambient piano, 70 bpm`"""
    qualities = ENERGY_WORDS[score.energy] if rng.random() < 0.5 else MOOD_WORDS[score.mode]
    words = [_pick(rng, qualities), genre, _pick(rng, LEAD_WORDS[score.lead])]
    return " ".join(word for word in words if word) + f", {_tempo(score.bpm, rng)}"


def _sentence(score: Score, genre: str, rng: np.random.Generator) -> str:
    """`a sad and calm lofi piece in A minor with piano and soft drums at 70 bpm`"""
    mood = _pick(rng, MOOD_WORDS[score.mode])
    energy = _pick(rng, ENERGY_WORDS[score.energy])
    lead = _pick(rng, LEAD_WORDS[score.lead])
    drums = _pick(rng, DRUM_WORDS[score.groove])
    kind = f"{genre} piece" if genre else "piece"
    played = lead if drums.startswith(("no ", "without")) else f"{lead} and {drums}"
    key = f"{score.tonic} {score.mode}"
    return f"a {mood} and {energy} {kind} in {key} with {played} at {score.bpm} bpm"


def _list(score: Score, genre: str, rng: np.random.Generator) -> str:
    """Some properties in random order: `120 bpm, bells and minor key, energetic drums`"""
    at_home = score.tonic in score.homes
    key = f"{score.mode} key" if at_home else f"in {score.tonic} {score.mode}"
    parts = [
        *([key] if not at_home or rng.random() < KEY_NAMED else []),
        *_played(score, rng),
        _tempo(score.bpm, rng),
        *([genre] if genre else []),
        *([_unknown(rng)] if rng.random() < UNKNOWN else []),
    ]
    kept: list[str] = [
        parts[i] for i in rng.permutation(len(parts))[: rng.integers(2, len(parts) + 1)]
    ]
    first, *others = kept if at_home or key in kept else [key, *kept]
    return first + "".join(_pick(rng, JOINTS) + part for part in others)


def _played(score: Score, rng: np.random.Generator) -> list[str]:
    """Mood, energy, lead and drums: `happy bells`, `driving drums`, or each by itself."""
    mood = _pick(rng, MOOD_WORDS[score.mode])
    energy = _pick(rng, ENERGY_WORDS[score.energy])
    lead = _pick(rng, LEAD_WORDS[score.lead])
    drums = _pick(rng, DRUM_WORDS[score.groove])
    parts = [f"{mood} {lead}"] if rng.random() < QUALIFIED else [mood, lead]
    is_apart = score.groove == "none" or not score.energy  # `soft drums` are another groove
    is_apart |= rng.random() >= QUALIFIED
    return [*parts, energy, drums] if is_apart else [*parts, f"{energy} {drums}"]


def _catalogue(score: Score, genre: str, rng: np.random.Generator) -> str:
    """The 10 to 25 words that a web form composes. Only the first of two instruments plays."""
    another = _pick(rng, LEAD_WORDS[_pick(rng, tuple(LEAD_WORDS))])
    drums = _pick(rng, DRUM_WORDS[score.groove])
    beside = f" and {drums}" if score.groove != "none" else _pick(rng, ("", f" and {another}"))
    parts = [
        _pick(rng, ERAS) + genre,
        f"{_pick(rng, MOOD_WORDS[score.mode])} mood",
        _tempo_words(score.bpm) if rng.random() < 0.5 else f"{score.bpm} bpm",
        f"with {_pick(rng, LEAD_WORDS[score.lead])}{beside}",
        _pick(rng, PRODUCTION),
        _pick(rng, VOCALS),
        DYNAMICS[score.energy],
        "high quality production",
    ]
    return ", ".join(parts)
