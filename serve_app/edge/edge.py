"""The edge of one Serve configuration."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from serve_app.config.app import AppConfig
from serve_app.config.reader import read_config
from serve_app.edge.edge_error import EdgeError
from serve_app.edge.exposure import check_exposure
from serve_app.edge.haproxy import Address, Served, Timeouts, render
from serve_app.edge.process import EdgeProcess
from serve_app.edge.tls import Tls

_BACKLOG = 1024
_SERVE_KEEP_ALIVE_S = 90.0
_NO_TIMEOUT_S = 86_400.0
_BUILDER = "serve_app.app:build_app"


@contextmanager
def open_edge(
    content: Mapping[str, Any],
    listen: Address,
    upstream: Address,
    tls: Tls | None = None,
    open_to_all: bool = False,
) -> Iterator[EdgeProcess]:
    """Run the edge of a Serve configuration, with the limits of its first application.

    content: the configuration's YAML; upstream: Serve's own proxy; open_to_all: listen beyond this
    machine without API keys. Raises EdgeError, and ConfigError for invalid `args`.
    """
    _check_host(listen)
    config = _checked(content, None if open_to_all else listen.host)
    served = Served(
        upstream,
        content["applications"][0].get("route_prefix") or "/",
        _timeouts(content.get("http_options") or {}),
    )
    with ExitStack() as stack:
        bundle = stack.enter_context(tls.bundle()) if tls else None
        certificate = None if bundle is None else f"/proc/self/fd/{bundle}"

        def rendered(bind: str) -> str:
            return render(config.edge, config.api, bind, served, certificate)

        listener = stack.enter_context(listen_on(listen))
        descriptors = [] if bundle is None else [bundle]
        yield stack.enter_context(EdgeProcess(listener, rendered, descriptors))


def _checked(content: Mapping[str, Any], host: str | None) -> AppConfig:
    """Parse the first application's args; check all of this package for a host, unless it is None."""
    first, *others = content["applications"]
    others = [one for one in others if one.get("import_path") == _BUILDER]
    configs = [read_config(application.get("args", {})) for application in (first, *others)]
    if host is not None:
        for application, config in zip((first, *others), configs, strict=True):
            check_exposure(host, application, config)
    return configs[0]


def listen_on(address: Address) -> socket.socket:
    """Open the listening socket. Raises EdgeError, e.g. if the port is taken."""
    both = address.host == "::"  # IPv4, too
    with _refusals(address):
        return socket.create_server(
            address, family=_family(address), backlog=_BACKLOG, dualstack_ipv6=both
        )


def _check_host(address: Address) -> None:
    """Raise EdgeError for a name that does not exist, and for another machine's address."""
    with _refusals(address), socket.socket(_family(address)) as probe:
        probe.bind((address.host, 0))


@contextmanager
def _refusals(address: Address) -> Iterator[None]:
    """Raise EdgeError where the system refuses an address."""
    try:
        yield
    except (OSError, OverflowError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise EdgeError(
            f"The service cannot listen on {address}: {reason}. Choose another port or host."
        ) from error


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _timeouts(http_options: Mapping[str, Any]) -> Timeouts:
    return Timeouts(
        _seconds(http_options, "request_timeout_s", _NO_TIMEOUT_S),
        _seconds(http_options, "keep_alive_timeout_s", _SERVE_KEEP_ALIVE_S),
    )


def _seconds(http_options: Mapping[str, Any], name: str, default: float) -> float:
    value = http_options.get(name)
    if value is None:
        return default
    if isinstance(value, int | float) and value is not True and 0 < value < _NO_TIMEOUT_S * 365:
        return float(value)
    raise EdgeError(f"http_options.{name} must be a number of seconds above 0, not {value!r}.")
