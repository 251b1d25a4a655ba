"""Allowances: the quantities that permits are taken from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """A bounded quantity, such as running requests of a key, or milliseconds of music in a line.

    limit: units at a time; refill_per_s: of a token bucket, whose units are spent; 0: units are given
    back. takes_any_alone: an amount beyond the limit is granted while nothing else is held.
    """

    name: str
    limit: int
    refill_per_s: float = 0.0
    takes_any_alone: bool = False

    @property
    def is_spent(self) -> bool:
        """Whether units are spent (a token bucket), and not given back."""
        return self.refill_per_s > 0


@dataclass(frozen=True, slots=True)
class Want:
    """Units that a request needs; 0: the allowance must not be overdrawn."""

    allowance: Allowance
    amount: int


class Shortage(Exception):
    """An allowance lacks the wanted units. available: units left in it, negative if overdrawn."""

    def __init__(self, want: Want, available: int) -> None:
        super().__init__(f"{want.allowance.name} lacks {want.amount} units, {available} are left")
        self.want = want
        self.available = available
