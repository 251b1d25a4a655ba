"""The edge of one Serve configuration: where it listens, and whom it may let in."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from serve_app.config.app import AccessConfig, AppConfig
from serve_app.edge.haproxy import Address, Served, Timeouts, render
from serve_app.edge.process import EdgeError, EdgeProcess

_BACKLOG = 1024
_SERVE_KEEP_ALIVE_S = 90.0
_NO_TIMEOUT_S = 86_400.0


class Tls(NamedTuple):
    """PEM files: certificate with its chain, and private key."""

    certificate: Path
    key: Path

    def write_bundle(self, file: Path) -> Path:
        """Write both into `file`, as HAProxy reads them. Raises EdgeError if one is unreadable."""
        try:
            content = self.certificate.read_text() + "\n" + self.key.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise EdgeError(f"The certificate or its key cannot be read: {error}") from error
        file.touch(mode=0o600)
        file.write_text(content)
        return file


@contextmanager
def open_edge(
    content: Mapping[str, Any],
    listen: Address,
    upstream: Address,
    tls: Tls | None = None,
    open_to_all: bool = False,
) -> Iterator[EdgeProcess]:
    """Run the edge of a Serve configuration.

    content: the configuration's YAML; upstream: Serve's own proxy; open_to_all: listen beyond this
    machine without API keys. Raises EdgeError, and ValidationError for invalid `args`.
    """
    application = content["applications"][0]
    config = AppConfig.model_validate(application.get("args", {}))
    if not open_to_all:
        check_exposure(listen.host, config.api.access)
    served = Served(
        upstream,
        application.get("route_prefix") or "/",
        _timeouts(content.get("http_options") or {}),
    )

    def rendered(bind: str, folder: Path) -> str:
        bundle = tls.write_bundle(folder / "bundle.pem") if tls else None
        return render(config.edge, config.api, bind, served, bundle)

    with listen_on(listen) as listener, EdgeProcess(listener, rendered) as edge:
        yield edge


def check_exposure(host: str, access: AccessConfig) -> None:
    """Raise EdgeError if a service without API keys would listen beyond this machine."""
    has_keys = access.require_keys or access.keys_file or os.environ.get(access.keys_env)
    if has_keys or is_loopback(host):
        return
    raise EdgeError(
        f"Listening on {host} without API keys would let anyone who reaches it use the service. "
        f'Make a key: export {access.keys_env}="web:$(openssl rand -hex 24)". '
        "Or give --open, to let everyone in."
    )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen_on(address: Address) -> socket.socket:
    """Open the listening socket. Raises EdgeError, e.g. if the port is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    both = address.host == "::"  # IPv4, too
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise EdgeError(
            f"The service cannot listen on {address}: {error.strerror or error}. "
            "Choose another port or host."
        ) from error


def _timeouts(http_options: Mapping[str, Any]) -> Timeouts:
    return Timeouts(
        request_timeout_s=float(http_options.get("request_timeout_s") or _NO_TIMEOUT_S),
        keep_alive_timeout_s=float(http_options.get("keep_alive_timeout_s") or _SERVE_KEEP_ALIVE_S),
    )
