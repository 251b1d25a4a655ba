"""Messages between an ingress replica (a session) and the coordinator of permits.

A report states quantities as they are and never as differences, so that a report which is sent
again, because its reply was lost, changes nothing.
"""

from dataclasses import dataclass

LEASE_S = 5.0  # from a session's last report until its permits return
HEARTBEAT_S = 1.0  # between two reports of a session without news
REPLY_S = 1.0  # in which a reply comes; else the coordinator is out of reach
RETRY_S = 0.25  # between attempts to reach the coordinator
# From the start of a coordinator that may have lost its sessions, until all of them have joined again: a
# session's next report begins after a heartbeat, or after a report without a reply and a pause; it learns
# that it is unknown, and joins.
RECOVERY_S = max(HEARTBEAT_S, REPLY_S + RETRY_S) + 2 * REPLY_S
ADVANCE = 16  # usual requests for which a session has units in advance at most


@dataclass(frozen=True, slots=True)
class Row:
    """One allowance in one session.

    limit, refill_per_s, takes_any_alone: as of an Allowance. used: units of running requests;
    idle: further units that the session holds; spent: units spent since the row was opened.
    opens: no answer to this row has come yet; ends: the session forgets it.
    need: units that waiting requests lack; first: those that the first of them lacks;
    unit: amount of a usual request, of which the session asks for a few in advance; 0: for none.
    waits: the requests wait for the units without a bound.
    left: units left as the session last knew them, for a coordinator that does not; -1: unknown.
    """

    allowance: str
    limit: int
    refill_per_s: float
    takes_any_alone: bool
    used: int
    idle: int
    spent: int
    opens: bool
    ends: bool
    need: int
    first: int
    unit: int
    waits: bool
    left: float


@dataclass(frozen=True, slots=True)
class LineReport:
    """News of one model's line.

    events: (number of a ticket, its milliseconds of music), 0 for a ticket that leaves;
    asked: numbers of tickets whose places are wanted; rate: music made per second, in milliseconds.
    """

    model: str
    events: tuple[tuple[int, int], ...]
    asked: tuple[int, ...]
    rate: float


@dataclass(frozen=True, slots=True)
class Report:
    """The news of a session.

    number: rises with each report; joins: all that the session holds is in the report; rejoins: the
    process had a session before; leaves: the session ends.
    """

    session: str
    number: int
    joins: bool
    rejoins: bool
    leaves: bool
    rows: tuple[Row, ...]
    lines: tuple[LineReport, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to one row.

    granted: units of the need; extra: units in advance; available: units that nobody holds;
    unspent: these and the idle ones; is_final: no other session holds idle units that may return.
    """

    allowance: str
    granted: int
    extra: int
    available: float
    unspent: float
    is_final: bool


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """State of one line.

    places: (number of a ticket, position, milliseconds of music ahead); count, total_ms: of all
    tickets; rate: music made per second by all sessions, in milliseconds.
    """

    model: str
    places: tuple[tuple[int, int, int], ...]
    count: int
    total_ms: int
    rate: float


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply to a report.

    is_known: false: the session has expired, or the coordinator started again: join with all.
    is_open: false: the coordinator has just started, does not know all holdings yet, and grants nothing.
    recalled: names of allowances whose idle units others need.
    """

    is_known: bool
    is_open: bool = True
    answers: tuple[Answer, ...] = ()
    lines: tuple[LineAnswer, ...] = ()
    recalled: tuple[str, ...] = ()
