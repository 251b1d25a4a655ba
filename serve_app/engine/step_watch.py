"""Watch over the step in progress."""

from time import monotonic


class StepWatch:
    """Context of each step of the engine's thread; any thread may ask how long it has lasted."""

    def __init__(self) -> None:
        self._began_at: float | None = None

    def __enter__(self) -> None:
        self._began_at = monotonic()

    def __exit__(self, *_: object) -> None:
        self._began_at = None

    @property
    def so_far_s(self) -> float:
        """Seconds of the step in progress; 0 between steps."""
        began_at = self._began_at
        return 0.0 if began_at is None else monotonic() - began_at
