"""Result of one check."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Meaning of a finding: only a problem keeps the service from starting."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """Result of one check. advice: the remedy of a problem or a note, else empty."""

    subject: str
    level: Level
    state: str
    advice: str = ""

    @property
    def good(self) -> bool:
        return self.level is not Level.PROBLEM


def ok(subject: str, state: str) -> Finding:
    return Finding(subject, Level.OK, state)


def note(subject: str, state: str, advice: str) -> Finding:
    return Finding(subject, Level.NOTE, state, advice)


def problem(subject: str, state: str, advice: str) -> Finding:
    return Finding(subject, Level.PROBLEM, state, advice)


def checked(subject: str, good: bool, state: str, remedy: str) -> Finding:
    """Build a problem with its remedy, or a good finding without."""
    return ok(subject, state) if good else problem(subject, state, remedy)
