"""The lease of one allowance: units that this process holds."""

from serve_app.gateway.permits.allowance import Allowance
from serve_app.gateway.permits.messages import ADVANCE, Answer, Row

_LOW = 4  # of them left when more are asked for
_PATIENCE_S = 1.0  # after others needed the idle units, until more are asked for in advance


class Bucket:
    """A token bucket of this process alone. It may be overdrawn."""

    def __init__(self, allowance: Allowance, now: float) -> None:
        self._allowance = allowance
        self._level = float(allowance.limit)
        self._at = now

    def level(self, now: float) -> float:
        """Compute the units left."""
        refilled = self._level + (now - self._at) * self._allowance.refill_per_s
        self._level = min(float(self._allowance.limit), refilled)
        self._at = now
        return self._level

    def spend(self, amount: int, now: float) -> None:
        """Spend units; negative: put them back."""
        self._level = self.level(now) - amount


class Lease:
    """Units used by running requests, and idle ones; and limits as this process alone counts them.

    A tight lease holds no idle units: near its limit an allowance is taken from unit by unit.
    """

    def __init__(self, allowance: Allowance, now: float) -> None:
        self.allowance = allowance
        self.used = 0
        self.idle = 0
        self.spent = 0
        self.touched_at = now
        self.is_tight = True
        self._own = Bucket(allowance, now)
        self._unit = 1
        self._is_open = False
        self._ends = False
        self._quiet_until = now
        self._left: float | None = None  # units left among all, at a time and with so many spent
        self._left_at = now
        self._left_spent = 0

    @property
    def name(self) -> str:
        return self.allowance.name

    def covers(self, amount: int, now: float) -> bool:
        """Whether the idle units do; for 0: whether the allowance is known not to be overdrawn."""
        return self.idle >= amount if amount else self._left is not None and self.left(now) >= 0

    def covers_alone(self, amount: int, now: float) -> bool:
        """Whether the limit allows the amount by this process's own count."""
        if self.allowance.is_spent:
            return amount <= self._own.level(now)
        return amount <= self.available_alone(now) or (
            self.allowance.takes_any_alone and not self.used
        )

    def available_alone(self, now: float) -> int:
        """Units left by this process's own count."""
        if self.allowance.is_spent:
            return int(self._own.level(now))
        return self.allowance.limit - self.used

    def expect(self, amount: int) -> None:
        """Learn the amount of a request that waits for units."""
        self._unit = max(1, amount)

    def take(self, amount: int, now: float) -> None:
        """Take idle units for a request."""
        self.idle -= amount
        self.take_alone(amount, now)

    def take_alone(self, amount: int, now: float) -> None:
        """Take units that are not idle ones."""
        self.touched_at = now
        self.expect(amount)
        if self.allowance.is_spent:
            self.spent += amount
            self._own.spend(amount, now)
        else:
            self.used += amount

    def give_back(self, amount: int, now: float, *, keeps: bool) -> None:
        """Take back the units of a request. keeps: whether they stay here as idle ones."""
        self.touched_at = now
        if self.allowance.is_spent:
            self.spent -= amount
            self._own.spend(-amount, now)
        else:
            self.used -= amount
        if keeps and not self.is_tight:
            self.idle = min(self.idle + amount, ADVANCE * self._unit)

    def charge(self, amount: int, now: float) -> None:
        """Spend units though they may be lacking."""
        self.spent += amount
        self._own.spend(amount, now)

    def is_low(self, now: float) -> bool:
        """Whether further units should be asked for in advance."""
        return not self.is_tight and self.idle < _LOW * self._unit and now >= self._quiet_until

    def left(self, now: float) -> float:
        """Estimate the units left among all processes; by this process's own count where unknown."""
        if self._left is None:
            return self._own.level(now) if self.allowance.is_spent else self.available_alone(now)
        refilled = self._left + (now - self._left_at) * self.allowance.refill_per_s
        return min(float(self.allowance.limit), refilled) - (self.spent - self._left_spent)

    def tighten(self, now: float) -> None:
        """Return the idle units: others need them."""
        self.is_tight = True
        self.idle = 0
        self._quiet_until = now + _PATIENCE_S

    def is_over(self, now: float, age_s: float) -> bool:
        """Whether the lease may be forgotten: no request has used it for a time."""
        is_full = not self.allowance.is_spent or self._own.level(now) >= self.allowance.limit
        return not self.used and is_full and now - self.touched_at > age_s

    def end(self) -> None:
        """Return the idle units with the next report, with which the coordinator forgets the lease."""
        self.idle = 0
        self.is_tight = True
        self._ends = True

    def restate(self) -> None:
        """Report the lease as a new one: the coordinator knows nothing of it."""
        self.void()
        self.spent = 0
        self._left_spent = 0
        self._is_open = False

    def void(self) -> None:
        """Drop the idle units, which the coordinator may have lent to others."""
        self.idle = 0
        self.is_tight = True

    def row(self, need: int, first: int, now: float, *, waits: bool) -> Row:
        """State the lease for a report. need, first: units that waiting requests lack."""
        ends = self._ends and not (need or self.used or self.idle)
        asks = now >= self._quiet_until and not waits and (need > 0 or self.is_low(now))
        return Row(
            allowance=self.name,
            limit=self.allowance.limit,
            refill_per_s=self.allowance.refill_per_s,
            takes_any_alone=self.allowance.takes_any_alone,
            used=self.used,
            idle=self.idle,
            spent=self.spent,
            opens=not self._is_open,
            ends=ends,
            need=need,
            first=first,
            unit=self._unit if asks else 0,
            waits=waits,
            left=-1.0 if self._left is None else max(0.0, self.left(now)),
        )

    def apply(self, row: Row, answer: Answer, now: float) -> None:
        """Take in the coordinator's answer to a row."""
        self._is_open = not row.ends
        self._ends = False
        if row.ends:
            self.spent -= row.spent
        self.idle += answer.granted + answer.extra
        if row.unit or row.need:
            self.is_tight = answer.extra == 0
        self._left = answer.unspent
        self._left_at = now
        self._left_spent = row.spent if not row.ends else 0
