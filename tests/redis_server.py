"""A private Redis server, where Debian's package is installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.postgres import needed
from tools.redis import redis_server as running_server


@contextmanager
def redis_server(port: int | None = None) -> Iterator[str]:
    """Run a server of its own until the block ends; yield its address."""
    needed("redis-server", "redis-server")
    with running_server(port) as url:
        yield url
