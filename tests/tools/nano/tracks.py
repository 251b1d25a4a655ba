"""Synthetic tracks for tests."""

from tools.nano.composer import render
from tools.nano.score import Score
from tools.nano.synthesizer import Samples

SCORE = {
    "tonic": "C",
    "mode": "major",
    "bpm": 100,
    "lead": "piano",
    "groove": "straight",
    "energy": 1,
}


def rendered(**changes: object) -> Samples:
    """Render eight seconds of SCORE with some changes."""
    return render(Score(**(SCORE | changes)), 8.0)  # type: ignore[arg-type]
