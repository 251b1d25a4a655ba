"""Metrics by API key: by its name alone, and only as many names as keep the series few."""

from ray.serve.metrics import Counter

from serve_app.gateway.outcome import Outcome

_MOST_KEY_NAMES = 100
_OTHER = "other"


class KeyMetrics:
    """Counts the requests of each key. Names beyond _MOST_KEY_NAMES share one label."""

    def __init__(self) -> None:
        self._requests = Counter(
            "musicgen_key_requests_total",
            "Requests that ended, by the name of the API key and outcome.",
            ("key", "outcome"),
        )
        self._audio_s = Counter(
            "musicgen_key_audio_seconds_total",
            "Seconds of music delivered, by the name of the API key.",
            ("key",),
        )
        self._cost = Counter(
            "musicgen_key_cost_dollars_total",
            "Cost of finished tracks, by the name of the API key.",
            ("key",),
        )
        self._names: set[str] = set()

    def ended(self, outcome: Outcome) -> None:
        """Count a request. Those without a key are not counted."""
        if not outcome.caller:
            return
        key = self._label(outcome.caller)
        self._requests.inc(1, {"key": key, "outcome": outcome.code})
        if outcome.audio_s:
            self._audio_s.inc(outcome.audio_s, {"key": key})
        if outcome.cost_usd:
            self._cost.inc(outcome.cost_usd, {"key": key})

    def _label(self, name: str) -> str:
        if len(self._names) < _MOST_KEY_NAMES:
            self._names.add(name)
        return name if name in self._names else _OTHER
