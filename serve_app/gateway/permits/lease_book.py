"""The leases of one ingress replica, and the requests that wait for units."""

from collections.abc import Iterable, Sequence

from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.claim import Claim
from serve_app.gateway.permits.lease import Lease
from serve_app.gateway.permits.line_journal import LineJournal
from serve_app.gateway.permits.messages import Answer, Reply, Report, Row

_IDLE_S = 60.0  # until the lease of an allowance that no request uses is given up


class LeaseBook:
    """Leases by the names of their allowances, lines by models, and claims in their order."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._lines: dict[str, LineJournal] = {}
        self._claims: list[Claim] = []
        self._dirty: set[str] = set()

    def line(self, model: str) -> LineJournal:
        """Return the line of a model."""
        return self._lines.setdefault(model, LineJournal(model))

    def lease(self, allowance: Allowance, now: float) -> Lease:
        """Return the lease of an allowance, new where there is none."""
        lease = self._leases.get(allowance.name)
        if lease is None:
            lease = self._leases[allowance.name] = Lease(allowance, now)
        return lease

    def touch(self, lease: Lease) -> None:
        """Have the lease in the next report."""
        self._dirty.add(lease.name)

    def take(self, wants: Sequence[Want], now: float) -> bool:
        """Take idle units of all allowances; tell whether there were enough of each."""
        leases = [self.lease(want.allowance, now) for want in wants]
        if not all(
            lease.covers(want.amount, now) for lease, want in zip(leases, wants, strict=True)
        ):
            return False
        for lease, want in zip(leases, wants, strict=True):
            lease.take(want.amount, now)
            self.touch(lease)
        return True

    def take_alone(self, wants: Sequence[Want], now: float) -> None:
        """Take units by the limits as this process counts them. Raises Shortage."""
        leases = [self.lease(want.allowance, now) for want in wants]
        for lease, want in zip(leases, wants, strict=True):
            if not lease.covers_alone(want.amount, now):
                raise Shortage(want, lease.available_alone(now))
        for lease, want in zip(leases, wants, strict=True):
            lease.take_alone(want.amount, now)
            self.touch(lease)

    def is_low(self, wants: Iterable[Want], now: float) -> bool:
        """Whether units should be asked for in advance."""
        return any(self.lease(want.allowance, now).is_low(now) for want in wants)

    def claim(self, wants: Sequence[Want], now: float, *, is_patient: bool) -> Claim:
        """Let a request wait for units."""
        for want in wants:
            self.lease(want.allowance, now).expect(want.amount)
        claim = Claim(wants, now, is_patient=is_patient)
        self._claims.append(claim)
        return claim

    def abandon(self, claim: Claim) -> None:
        """Let a request wait no more that has no units yet; the next report says so."""
        if claim in self._claims:
            self._claims.remove(claim)
            self._dirty.update(want.allowance.name for want in claim.wants)

    @property
    def is_urgent(self) -> bool:
        """Whether a request waits for a decision within a bounded time."""
        return not all(claim.is_patient for claim in self._claims)

    @property
    def has_news(self) -> bool:
        """Whether lines have changed, or their places are asked for."""
        return any(line.has_news for line in self._lines.values())

    def collect(
        self, session: str, number: int, now: float, *, joins: bool, rejoins: bool
    ) -> Report:
        """State all that has changed; with `joins` all that there is."""
        if joins:
            self._restate()
        needs = self._needs(now)
        names = self._dirty | needs.keys()
        self._dirty = set()
        lines = (line.collect(now) for line in self._lines.values())
        return Report(
            session=session,
            number=number,
            joins=joins,
            rejoins=rejoins,
            leaves=False,
            rows=tuple(self._row(name, needs, now) for name in names if name in self._leases),
            lines=tuple(line for line in lines if line is not None),
        )

    def put_back(self, report: Report) -> None:
        """Report the same news again: no reply came."""
        self._dirty |= {row.allowance for row in report.rows}
        for line in report.lines:
            self.line(line.model).put_back(line)

    def apply(self, report: Report, reply: Reply, now: float) -> bool:
        """Take in a reply; tell whether there is news to report at once."""
        answers = {answer.allowance: answer for answer in reply.answers}
        for row in report.rows:
            if (lease := self._leases.get(row.allowance)) and row.allowance in answers:
                lease.apply(row, answers[row.allowance], now)
        for line in reply.lines:
            self.line(line.model).apply(line)
        self._settle(answers, now, may_refuse=reply.is_open)
        recalled = [self._leases[name] for name in reply.recalled if name in self._leases]
        for lease in recalled:
            lease.tighten(now)
            self.touch(lease)
        return self._return_partial_grants(report) or bool(recalled)

    def settle_alone(self, now: float) -> None:
        """Decide on all claims by this process's own count: the coordinator is out of reach.

        Patient ones get their units.
        """
        claims = self._claims
        self._claims = []
        for claim in claims:
            try:
                self.take_alone(claim.wants, now)
            except Shortage as shortage:
                if claim.is_patient:
                    self._claims.append(claim)
                else:
                    claim.end(shortage)
            else:
                claim.end(None)

    def void(self) -> None:
        """Drop all idle units, and what is known of others: the session may have expired."""
        for lease in self._leases.values():
            lease.void()
        for line in self._lines.values():
            line.forget_others()

    def tidy(self, now: float) -> None:
        """Give up the leases that no request has used for a time."""
        for lease in self._leases.values():
            if lease.is_over(now, _IDLE_S):
                lease.end()
                self.touch(lease)

    def forget_quiet(self, now: float) -> None:
        """Forget the leases that no request uses, without a coordinator to be told."""
        self._dirty.clear()
        self.forget(now)

    def forget(self, now: float) -> None:
        """Forget the leases that no request uses, and that need not be reported."""
        asked = {want.allowance.name for claim in self._claims for want in claim.wants}
        for name, lease in list(self._leases.items()):
            if lease.is_over(now, _IDLE_S) and not lease.idle and name not in self._dirty | asked:
                del self._leases[name]

    def _restate(self) -> None:
        for lease in self._leases.values():
            lease.restate()
            self.touch(lease)
        for line in self._lines.values():
            line.restate()

    def _needs(self, now: float) -> dict[str, list[int]]:
        """List the units that claims want of each allowance, in the claims' order."""
        needs: dict[str, list[int]] = {}
        for claim in self._claims:
            claim.is_asked = True
            for want in claim.wants:
                self.lease(want.allowance, now)
                needs.setdefault(want.allowance.name, []).append(want.amount)
        return needs

    def _row(self, name: str, needs: dict[str, list[int]], now: float) -> Row:
        lease = self._leases[name]
        amounts = needs.get(name, [0])
        waits = any(
            claim.is_patient and claim.wants[0].allowance.name == name for claim in self._claims
        )
        need = max(0, sum(amounts) - lease.idle)
        return lease.row(need, max(0, amounts[0] - lease.idle), now, waits=waits)

    def _settle(self, answers: dict[str, Answer], now: float, *, may_refuse: bool) -> None:
        """Grant the claims for which there are units, in their order; refuse those without hope."""
        claims = self._claims
        self._claims = []
        for claim in claims:
            if claim.granted.done():
                continue
            if self.take(claim.wants, now):
                claim.end(None)
            elif may_refuse and (shortage := self._shortage(claim, answers, now)):
                claim.end(shortage)
            else:
                self._claims.append(claim)

    def _shortage(self, claim: Claim, answers: dict[str, Answer], now: float) -> Shortage | None:
        """Find the allowance that refuses a claim; None while units may still return."""
        if claim.is_patient or not claim.is_asked:
            return None
        for want in claim.wants:
            lease = self.lease(want.allowance, now)
            answer = answers.get(lease.name)
            if answer is None or lease.covers(want.amount, now):
                continue
            if answer.is_final or now >= claim.gives_up_at:
                return Shortage(want, int(answer.available) + lease.idle)
        return None

    def _return_partial_grants(self, report: Report) -> bool:
        """Return idle units of tight leases, such as grants that were not enough for a request."""
        is_any = False
        for row in report.rows:
            lease = self._leases.get(row.allowance)
            if lease is not None and lease.is_tight and lease.idle and not self._is_claimed(lease):
                lease.void()
                self.touch(lease)
                is_any = True
        return is_any

    def _is_claimed(self, lease: Lease) -> bool:
        return any(
            want.allowance.name == lease.name for claim in self._claims for want in claim.wants
        )
