"""The ledger of permits: what all sessions hold, spend and wait for."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from serve_app.gateway.permits.account import Account
from serve_app.gateway.permits.messages import LEASE_S, RECOVERY_S, Answer, Reply, Report
from serve_app.gateway.permits.shared_line import SharedLine

_SWEEP_S = 60.0


@dataclass
class _Session:
    """An ingress replica. recalled: allowances whose idle units others need."""

    expires_at: float
    number: int = 0
    recalled: set[str] = field(default_factory=set)


class Ledger:
    """Accounts by allowances, lines by models, and sessions, which expire LEASE_S after a report.

    A ledger that starts again learns the holdings from the sessions' next reports, and grants
    nothing until all of them have had the time to report. is_restarted: there was one before it; without
    that, the first session that joins again within RECOVERY_S tells so.
    """

    def __init__(
        self, clock: Callable[[], float] = monotonic, *, is_restarted: bool = False
    ) -> None:
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._accounts: dict[str, Account] = {}
        self._lines: defaultdict[str, SharedLine] = defaultdict(SharedLine)
        self._started_at = clock()
        self._swept_at = clock()
        self._opens_at = self._started_at + (RECOVERY_S if is_restarted else 0.0)
        self._to_wake: set[str] = set()

    def exchange(self, report: Report) -> Reply:
        """Take in a session's report, and reply. Reports that were overtaken have no effect."""
        now = self._clock()
        self._expire(now)
        if report.leaves:
            self._end(report.session)
            return Reply(is_known=True)
        session = self._sessions.get(report.session)
        if session is None:
            if not report.joins:
                return Reply(is_known=False)
            session = self._join(report, now)
        if report.number <= session.number:
            return Reply(is_known=True)
        session.number = report.number
        session.expires_at = now + LEASE_S
        return Reply(
            is_known=True,
            is_open=now >= self._opens_at,
            answers=tuple(self._answers(report, now)),
            lines=tuple(
                self._lines[line.model].apply(report.session, line) for line in report.lines
            ),
            recalled=self._recalled(session),
        )

    def take_woken(self) -> set[str]:
        """Return the sessions that should report at once, since the last call."""
        woken = self._to_wake
        self._to_wake = set()
        return woken

    @property
    def has_sessions(self) -> bool:
        """Whether a session is open. Those that have expired are ended first."""
        self._expire(self._clock())
        return bool(self._sessions)

    def is_known(self, session: str) -> bool:
        return session in self._sessions

    def _join(self, report: Report, now: float) -> _Session:
        if report.rejoins and now < self._started_at + RECOVERY_S:
            self._opens_at = self._started_at + RECOVERY_S
        session = self._sessions[report.session] = _Session(now + LEASE_S)
        return session

    def _answers(self, report: Report, now: float) -> list[Answer]:
        """Take in all rows, then grant."""
        for row in report.rows:
            account = self._accounts.get(row.allowance)
            if account is None:
                account = self._accounts[row.allowance] = Account(row, now)
            if account.settle(report.session, row, now):
                self._to_wake |= account.waiting
        answers = []
        for row in report.rows:
            account = self._accounts[row.allowance]
            is_open = now >= self._opens_at
            count = len(self._sessions)
            if row.ends:
                left = (account.available, account.unspent)
                answers.append(Answer(row.allowance, 0, 0, *left, is_final=True))
                continue
            answers.append(account.grant(report.session, row, count, is_open=is_open))
            self._recall(row.allowance, account, report.session)
        return answers

    def _recall(self, allowance: str, account: Account, borrower: str) -> None:
        """Ask for idle units that others need; of the borrower, if it is not alone in that."""
        others_wait = bool(account.waiting - {borrower})
        for name in account.lenders("" if others_wait else borrower):
            self._sessions[name].recalled.add(allowance)
            if name != borrower:
                self._to_wake.add(name)

    @staticmethod
    def _recalled(session: _Session) -> tuple[str, ...]:
        recalled = tuple(session.recalled)
        session.recalled.clear()
        return recalled

    def _expire(self, now: float) -> None:
        for name in [name for name, one in self._sessions.items() if one.expires_at <= now]:
            self._end(name)
        if now - self._swept_at >= _SWEEP_S:
            self._swept_at = now
            unused = [name for name, one in self._accounts.items() if one.is_unused(now)]
            for name in unused:
                del self._accounts[name]

    def _end(self, session: str) -> None:
        """Return all that a session holds."""
        if self._sessions.pop(session, None) is None:
            return
        self._to_wake.add(session)
        for account in self._accounts.values():
            account.end(session)
            self._to_wake |= account.waiting
        for line in self._lines.values():
            line.end(session)
