"""The end of a request: for the log, metrics and traces."""

from dataclasses import dataclass

from serve_app.types import Timings

OK = "ok"
UNATTAINABLE = "deadline_unattainable"
QUEUE_LATE = "queue_late"
NO_KEY = "-"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one request.

    code: `ok`, UNATTAINABLE, QUEUE_LATE, or the error's code; audio_s: seconds of music delivered;
    first_audio_s: seconds from the request to its first audio; None: there was none;
    total_s: seconds from the request to its end; timings: of a finished track;
    cost_usd: of a finished track, None: unknown; caller: name of the API key, empty without keys;
    trace_id: in hexadecimal, empty where the request is not traced.
    """

    request_id: str
    model: str
    code: str
    audio_s: float
    first_audio_s: float | None
    total_s: float
    timings: Timings | None = None
    cost_usd: float | None = None
    caller: str = ""
    trace_id: str = ""

    @property
    def fields(self) -> dict[str, str | float]:
        """Fields of the log's line, which a collector reads; those without a value are left out."""
        timings = self.timings
        found: dict[str, str | float | None] = {
            "outcome": self.code,
            "model": self.model,
            "key": self.caller or NO_KEY,
            "audio_s": _rounded(self.audio_s),
            "first_audio_s": _rounded(self.first_audio_s),
            "total_s": _rounded(self.total_s),
            "queue_s": None if timings is None else _rounded(timings.queue_s),
            "generation_s": None if timings is None else _rounded(timings.generation_s),
            "cost_usd": self.cost_usd,
            "trace_id": self.trace_id or None,
        }
        return {name: value for name, value in found.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
