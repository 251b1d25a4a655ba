"""Queued jobs of a model, as its replica was told of them."""

from time import monotonic

_NOTE_S = 10.0  # after which what was told of jobs no longer counts


class JobsNote:
    """The seconds of music in queued jobs as an ingress replica told them, until that is outdated."""

    def __init__(self) -> None:
        self._notes: dict[str, tuple[float, float]] = {}  # by model, with the time of taking

    def take(self, audio_s: float, model_id: str = "") -> None:
        self._notes[model_id] = (audio_s, monotonic())

    @property
    def audio_s(self) -> float:
        """The last numbers of the model and its fine-tunes, of those that are not _NOTE_S old."""
        now = monotonic()
        return sum(audio_s for audio_s, at in self._notes.values() if now - at < _NOTE_S)
