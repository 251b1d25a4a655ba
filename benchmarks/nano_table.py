"""The figures of `nano_quality` as the table of the model card."""

from collections.abc import Mapping
from typing import Any

from benchmarks.nano_variety import AT_MOST

NAMES = {
    "bar": "target",
    "model": "musicgen-nano",
    "floor": "untrained",
    "codec": "codec",
    "data": "data",
}
LATE = "_last_10_s"
DESCRIPTIONS = {
    "tempo": "tempo within 8 %, octaves allowed",
    "timbre": "timbre: bells and flute brighter than bass and pad",
    "mode": "mode: chroma is major or minor as requested",
    "energy": 'energy: "energetic" louder than "calm"',
    "alive": "alive: neither silent nor clipping, neither a constant tone nor noise",
    "distinct_tunes": "tunes of different contour, 20 seeds of one prompt",
    "distinct_tunes_unknown_words": "the same, of a prompt of unknown words",
    "seed_similarity": "cosine similarity of the chroma of two seeds",
    "brightness": "share of energy above 2.5 kHz: bells, trumpet, strings, synth lead",
    "loudness_spread": "distance from -16 LUFS that 95 % of the outputs keep, in LU",
    "ending": "ends within 8 s: the last 0.1 s are 20 dB below the track",
    "ending_30_s": "ends within 30 s",
    "form": "form: the last third of 30 s differs from the first",
    "codec_si_sdr_db": "codec: SI-SDR in dB",
    "real_time_factor": "seconds of music per second, one request",
}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the figures as a Markdown table."""
    lines = [f"| figure | {' | '.join(NAMES.values())} |", "|---" * (len(NAMES) + 1) + "|"]
    for figure, row in found.items():
        cells = [f"{row[column]:g}" if column in row else "" for column in NAMES]
        if figure in AT_MOST:
            cells[0] = f"at most {cells[0]}"
        lines.append(f"| {_description(figure)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _description(figure: str) -> str:
    if figure.endswith(LATE):
        return "the last 10 s of 30 s: " + figure.removesuffix(LATE)
    return DESCRIPTIONS.get(figure, figure)
