"""The protocol of coordinators, which share allowances out among the ingress replicas."""

from typing import Protocol

from serve_app.gateway.permits.messages import Reply, Report


class Unreachable(Exception):
    """The coordinator cannot be reached, or has failed."""


class Coordinator(Protocol):
    """Keeps the ledger of permits. Errors are Unreachable."""

    async def exchange(self, report: Report) -> Reply:
        """Take in a session's report, and reply."""
        ...

    async def woken(self, session: str) -> None:
        """Return when the session should report at once. It may return without a reason."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
