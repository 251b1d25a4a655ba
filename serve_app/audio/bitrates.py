"""Bit rates of lossy formats."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bitrates:
    """Bit rates of a lossy format, in kbit/s.

    choices: the only ones; empty: all from `low` to `high`;
    high_per_channel: the highest for each channel; None: no bound of its own.
    """

    default: int
    low: int
    high: int
    choices: tuple[int, ...] = ()
    high_per_channel: int | None = None

    def __contains__(self, kbps: int) -> bool:
        return kbps in self.choices if self.choices else self.low <= kbps <= self.high

    def highest(self, channels: int) -> int:
        """Return the highest bit rate of a file with so many channels."""
        if self.high_per_channel is None:
            return self.high
        return min(self.high, channels * self.high_per_channel)

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        return f"between {self.low} and {self.high}"
