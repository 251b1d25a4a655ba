"""Words of prompts for the values of a score."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Genre:
    """Values that a genre's name implies."""

    leads: tuple[str, ...]
    grooves: tuple[str, ...]
    energies: tuple[int, ...]
    bpm: tuple[int, int]


GENRES = {
    "lofi": Genre(("piano", "guitar", "epiano"), ("soft", "straight"), (0, 1), (66, 92)),
    "ambient": Genre(("pad", "harp", "bells"), ("none",), (0,), (60, 90)),
    "techno": Genre(("lead", "bass"), ("four",), (2,), (122, 140)),
    "house": Genre(("organ", "piano", "lead"), ("four",), (1, 2), (114, 128)),
    "trance": Genre(("lead", "strings"), ("four",), (2,), (130, 146)),
    "hip hop": Genre(("piano", "bass", "strings"), ("syncopated", "breakbeat"), (1, 2), (78, 102)),
    "rock": Genre(("guitar", "organ"), ("straight",), (2,), (104, 150)),
    "pop": Genre(("piano", "guitar", "marimba"), ("straight", "four"), (1, 2), (96, 128)),
    "folk": Genre(("guitar", "flute", "harp"), ("soft", "none"), (0, 1), (76, 112)),
    "classical": Genre(("strings", "piano", "flute"), ("none",), (0, 1), (60, 120)),
    "cinematic": Genre(("strings", "pad"), ("none", "soft"), (0, 1, 2), (64, 110)),
    "funk": Genre(
        ("bass", "guitar", "organ", "epiano"), ("syncopated", "breakbeat"), (2,), (96, 118)
    ),
    "disco": Genre(("strings", "trumpet", "organ"), ("four",), (2,), (112, 126)),
    "jazz": Genre(("piano", "bass", "trumpet"), ("soft", "syncopated"), (0, 1), (80, 132)),
    "electronic": Genre(("lead", "pad"), ("four",), (1, 2), (112, 134)),
    "orchestral": Genre(("strings", "flute", "trumpet"), ("none", "soft"), (1, 2), (70, 118)),
}
LEAD_WORDS = {
    "piano": ("piano", "grand piano", "piano melody", "mellow piano"),
    "guitar": ("guitar", "plucked guitar", "acoustic guitar", "electric guitar"),
    "harp": ("harp", "plucked harp"),
    "bells": ("bells", "bell melody", "glockenspiel bells"),
    "marimba": ("marimba", "xylophone"),
    "flute": ("flute", "flute melody"),
    "trumpet": ("trumpet", "brass", "trumpet melody"),
    "organ": ("organ", "church organ"),
    "epiano": ("electric piano", "rhodes"),
    "strings": ("strings", "violin strings", "string section", "violin", "cello"),
    "pad": ("pad", "synth pad", "pad chords"),
    "lead": ("synth lead", "lead synth", "electronic lead"),
    "bass": ("bass", "deep bass", "bass line", "upright bass"),
}
ENERGY_WORDS = (
    ("calm", "relaxed", "peaceful", "gentle", "soft", "mellow", "chill", "dreamy"),
    ("steady", "moderate", "flowing", "warm", "groovy"),
    ("energetic", "driving", "intense", "powerful", "upbeat", "epic"),
)
MOOD_WORDS = {
    "major": (
        "happy", "bright", "joyful", "hopeful", "cheerful", "playful", "romantic", "uplifting",
    ),
    "minor": ("sad", "dark", "melancholic", "moody", "mysterious", "nostalgic"),
}  # fmt: skip
DRUM_WORDS = {
    "none": ("no drums", "without drums"),
    "soft": ("soft drums", "light percussion"),
    "straight": ("drums", "steady drums"),
    "four": ("four on the floor drums", "dance beat"),
    "syncopated": ("syncopated drums", "funky drums"),
    "breakbeat": ("breakbeat", "breakbeat drums"),
}
