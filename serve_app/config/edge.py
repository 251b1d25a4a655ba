"""Limits of the edge."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, PositiveFloat, PositiveInt

from serve_app.config.closed_model import ClosedModel


def _network(text: str) -> str:
    """Normalize an address or a network in CIDR notation. Raises ValueError for another text."""
    return str(ip_network(text, strict=False))


class EdgeConfig(ClosedModel):
    """The edge: HAProxy between clients and Serve's HTTP proxy.

    `api.max_header_bytes` and `api.max_upload_bytes` hold here, too.
    """

    max_url_bytes: PositiveInt = 24_576
    """Longest path and query, in bytes; a longer one gets `414`. A query may hold a prompt."""
    header_timeout_s: PositiveFloat = 10.0
    """Seconds to send all headers; a slower client gets `408`."""
    body_timeout_s: PositiveFloat = 20.0
    """Seconds to send a body, or the first 64 KiB of a larger one; a slower client gets `408`."""
    idle_timeout_s: PositiveFloat = 60.0
    """Seconds that a client may neither send nor read in a request; then its connection is closed.
    Between requests, `http_options.keep_alive_timeout_s` holds."""
    queue_timeout_s: PositiveFloat = 30.0
    """Seconds that a request waits while `max_requests` others run; then it gets `503`."""
    max_connections: PositiveInt = 8192
    """Open connections. Further ones wait in the system's backlog."""
    max_connections_per_address: PositiveInt = 512
    """Open connections of one address; further ones are closed."""
    max_requests: PositiveInt = 900
    """Requests in Serve at a time, fewer than the ingress takes (`max_ongoing_requests`), which keeps
    room for health checks."""
    max_requests_per_address: PositiveInt = 128
    """Unfinished requests of one address; further ones get `429`. Clients behind one NAT share it."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    """Addresses or networks (`10.0.0.0/8`) without limits per address, whose `X-Forwarded-*` headers
    are kept: your load balancers. The loopback interface is always trusted."""
