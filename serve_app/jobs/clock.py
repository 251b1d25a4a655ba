"""Times of jobs as their JSON tells them."""

from datetime import UTC, datetime


def iso(unix_time: float | None) -> str | None:
    """Render a Unix time in UTC (RFC 3339) with milliseconds; None stays None."""
    if unix_time is None:
        return None
    moment = datetime.fromtimestamp(unix_time, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
