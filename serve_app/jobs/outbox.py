"""Transactions of the outbox: messages to webhooks, written with the change that they tell of."""

import secrets
from collections.abc import Mapping

from serve_app.jobs.bounds import within
from serve_app.jobs.database import Steps, statement
from serve_app.jobs.destinations import host_of
from serve_app.jobs.ids import new_id
from serve_app.jobs.job import Delivery
from serve_app.jobs.rows import delivery_of
from serve_app.jobs.store import NewDelivery, Settlement

_ERROR_CHARS = 500

# A leased message is due again when its lease ends, so that one index finds both.
_DUE = "from {db}deliveries where not settled and due_at <= {now}"
_ORDER = "due_at, id"

_LEASE = """
update {db}deliveries set lease = :lease, due_at = {now} + :lease_s, attempt = attempt + 1
from next where id = next_id
returning id, job_id, owner, url, event, body, attempt, lease, created_at"""

_ADD = """
insert into {db}deliveries (
  id, job_id, owner, url, host, event, body, attempt, created_at, due_at, settled
) select :id, :job_id, :owner, :url, :host, :event, :body, 0, {now}, {now}, false
where not exists (select 1 from {db}webhooks_disabled where owner = :owner and url = :url)
  and not (:once and exists (
    select 1 from {db}deliveries where job_id = :job_id and event = :event
  ))
returning id"""

_SETTLE = """
update {db}deliveries set settled = :ends, lease = null, last_status = :status,
  last_error = :error, due_at = {now} + :retry_in_s,
  delivered_at = case when :delivered then {now} else delivered_at end
where id = :id and lease = :lease returning id"""

_SEND_AGAIN = """
update {db}deliveries set settled = false, lease = null, attempt = 0, due_at = {now}
where job_id = :job_id and owner = :owner and not exists (
  select 1 from {db}deliveries as later
  where later.job_id = :job_id and later.event = deliveries.event
    and (later.created_at, later.id) > (deliveries.created_at, deliveries.id)
) returning url"""


def add_deliveries(job_id: str, owner: str, new: tuple[NewDelivery, ...]) -> Steps[None]:
    """Write messages, but for addresses that are gone. The start of a job is told once."""
    for one in new:
        yield statement(
            _ADD,
            id=new_id(),
            job_id=job_id,
            owner=owner,
            url=one.url,
            host=host_of(one.url),
            event=one.event,
            body=one.body,
            once=one.event == "started",
        )


def drop_progress(job_id: str) -> Steps[None]:
    """Delete messages of progress that are neither sent nor under way: a later one replaces them."""
    yield statement(
        "delete from {db}deliveries where job_id = :job_id and event = 'progress'"
        " and not settled and (lease is null or due_at <= {now}) returning id",
        job_id=job_id,
    )


def claim_deliveries(
    limit: int, lease_s: float, bounds: Mapping[str, int], hosts: Mapping[str, int]
) -> Steps[list[Delivery]]:
    """Lease the messages that are due, the oldest first.

    At most so many of each owner in `bounds`, and to each host in `hosts`. An owner's messages to
    a host that has no place keep back none of its others.
    """
    to_hosts, of_hosts = within(hosts, _DUE, _ORDER, "host")
    due = f"{_DUE} {to_hosts}"
    of_owners, parameters = within(bounds, due, _ORDER)
    next_ones = f"select id as next_id {due} {of_owners} order by {_ORDER} limit :limit"
    rows = yield statement(
        f"with next as ({next_ones} {{skip_locked}}) {_LEASE}",
        limit=limit,
        lease_s=float(lease_s),
        lease=secrets.token_hex(16),
        **parameters,
        **of_hosts,
    )
    return [delivery_of(row) for row in sorted(rows, key=lambda row: row["created_at"])]


def settle(delivery: Delivery, settlement: Settlement) -> Steps[None]:
    """Record the end of an attempt, unless its lease was lost."""
    retries = settlement.retry_in_s is not None and not settlement.delivered
    held = yield statement(
        _SETTLE,
        id=delivery.id,
        lease=delivery.lease,
        ends=not retries or settlement.disables,
        status=settlement.status,
        error=_storable(settlement.error),
        retry_in_s=float(settlement.retry_in_s or 0),
        delivered=settlement.delivered,
    )
    if held and settlement.disables:
        yield from _disable(delivery.owner, delivery.url)


def _storable(error: str | None) -> str | None:
    """Shorten a message; PostgreSQL's text takes no NUL."""
    if error is None:
        return None
    return error.encode(errors="replace").decode().replace("\0", " ")[:_ERROR_CHARS]


def _disable(owner: str, url: str) -> Steps[None]:
    """End the owner's messages to this address, those to come included."""
    yield statement(
        "insert into {db}webhooks_disabled (owner, url, created_at) values (:owner, :url, {now})"
        " on conflict (owner, url) do nothing returning url",
        owner=owner,
        url=url,
    )
    yield statement(
        "update {db}deliveries set settled = true"
        " where owner = :owner and url = :url and not settled returning id",
        owner=owner,
        url=url,
    )


def redeliver(owner: str, job_id: str) -> Steps[int]:
    """Send the latest message of each event again. Enables its address again."""
    rows = yield statement(_SEND_AGAIN, owner=owner, job_id=job_id)
    for url in sorted({row["url"] for row in rows}):
        yield statement(
            "delete from {db}webhooks_disabled where owner = :owner and url = :url returning url",
            owner=owner,
            url=url,
        )
    return len(rows)
