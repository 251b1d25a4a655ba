"""The account of one allowance: which session holds how many of its units."""

import math
from dataclasses import dataclass

from serve_app.gateway.permits.messages import ADVANCE, Answer, Row


@dataclass
class _Holding:
    """Units of one session: used and idle ones, and those spent since its row was opened."""

    used: int = 0
    idle: int = 0
    spent: int = 0


class Account:
    """Units that nobody holds (`level`), and the holdings of sessions.

    level + held units + spent units are the limit, refilled with time; level may be negative.
    waiting: sessions that lack units.
    """

    def __init__(self, row: Row, now: float) -> None:
        self._limit = row.limit
        self._refill_per_s = row.refill_per_s
        self._level = float(row.limit) if row.left < 0 else min(float(row.limit), row.left)
        if not row.refill_per_s:
            self._level = float(row.limit)
        self._at = now
        self._holdings: dict[str, _Holding] = {}
        self._used = 0
        self._idle = 0
        self.waiting: set[str] = set()

    def settle(self, session: str, row: Row, now: float) -> bool:
        """Take in a session's row; tell whether units may have become free for others."""
        self._refill(now)
        self._limit_to(row)
        before = self._level
        holding = self._holdings.get(session)
        if holding is None:
            holding = self._holdings[session] = _Holding(spent=0 if row.opens else row.spent)
        had_idle = holding.idle > 0
        self._level += holding.used + holding.idle - (row.spent - holding.spent)
        self._level -= row.used + row.idle
        self._hold(holding, row.used, row.idle)
        holding.spent = row.spent
        if row.ends:
            self._drop(session)
        self.waiting.discard(session)
        return self._level > before or (had_idle and not row.idle)

    def grant(self, session: str, row: Row, sessions: int, *, is_open: bool) -> Answer:
        """Grant the units that a row needs, as far as there are any, and some in advance.

        sessions: number of sessions; is_open: false while holdings are not all known.
        """
        granted = self._grantable(session, row) if is_open else 0
        if granted:
            is_enough = granted >= row.need
            self._give(session, granted, is_idle=not is_enough)
        extra = 0
        if is_open and row.unit and granted >= row.need and not self.waiting:
            extra = self._advance(row.unit, sessions)
            self._give(session, extra, is_idle=True)
        others_idle = self._idle - self._idle_of(session)
        if granted < row.need and (row.waits or others_idle or not is_open):
            self.waiting.add(session)
        is_final = is_open and (granted >= row.need or not others_idle)
        available = self._level
        return Answer(row.allowance, granted, extra, available, self.unspent, is_final)

    def lenders(self, borrower: str) -> list[str]:
        """List the other sessions whose idle units are needed."""
        if not self._idle or not (self.waiting or self._level < 0):
            return []
        return [name for name, one in self._holdings.items() if one.idle and name != borrower]

    def end(self, session: str) -> None:
        """Return the units of a session that has ended. Those of a token bucket count as spent."""
        self.waiting.discard(session)
        holding = self._holdings.get(session)
        if holding is not None:
            if not self._refill_per_s:
                self._level += holding.used + holding.idle
            self._drop(session)

    def is_unused(self, now: float) -> bool:
        """Whether the account is as a new one."""
        self._refill(now)
        return not self._holdings and not self.waiting and self._level >= self._limit

    @property
    def available(self) -> float:
        """Units that nobody holds."""
        return self._level

    @property
    def unspent(self) -> float:
        """Units left: those that nobody holds, and the idle ones."""
        return self._level + self._idle

    def _grantable(self, session: str, row: Row) -> int:
        free = min(row.need, max(0, math.floor(self._level)))
        is_alone = not self._used and self._idle == self._idle_of(session)
        if row.takes_any_alone and free < row.first and is_alone:
            return row.first
        return free

    def _advance(self, unit: int, sessions: int) -> int:
        """Units in advance: a share of the free ones, so that each session may get as many."""
        return unit * max(0, min(ADVANCE, math.floor(self._level) // (2 * sessions * unit)))

    def _give(self, session: str, amount: int, *, is_idle: bool) -> None:
        holding = self._holdings[session]
        self._level -= amount
        if is_idle:
            self._hold(holding, holding.used, holding.idle + amount)
        else:
            self._hold(holding, holding.used + amount, holding.idle)

    def _hold(self, holding: _Holding, used: int, idle: int) -> None:
        self._used += used - holding.used
        self._idle += idle - holding.idle
        holding.used = used
        holding.idle = idle

    def _drop(self, session: str) -> None:
        self._hold(self._holdings.pop(session), 0, 0)

    def _idle_of(self, session: str) -> int:
        return self._holdings[session].idle

    def _limit_to(self, row: Row) -> None:
        """Take over a changed limit."""
        self._level += row.limit - self._limit
        self._limit = row.limit
        self._refill_per_s = row.refill_per_s

    def _refill(self, now: float) -> None:
        if self._refill_per_s:
            most = self._limit - self._idle - self._used
            refilled = self._level + (now - self._at) * self._refill_per_s
            self._level = min(max(most, 0.0), refilled)
        self._at = now
