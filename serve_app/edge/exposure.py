"""Refusal to listen beyond this machine without API keys."""

from ipaddress import ip_address
from typing import Any

from serve_app.config.app import AppConfig
from serve_app.config.reader import ingress_environment
from serve_app.edge.edge_error import EdgeError
from serve_app.gateway.keys import KeyRing


def check_exposure(host: str, application: dict[str, Any], config: AppConfig) -> None:
    """Refuse to listen beyond this machine for an application without API keys.

    application: of the Serve configuration; config: its args. Raises EdgeError, and ConfigError for
    keys that cannot be read.
    """
    if is_loopback(host) or _has_keys(application, config):
        return
    variable = config.api.access.keys_env
    raise EdgeError(
        f"Listening on {host} without API keys would let anyone who reaches it use the service. "
        f'Make a key: export {variable}="web:$(openssl rand -hex 24)". '
        "Or give --open, to let everyone in."
    )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_keys(application: dict[str, Any], config: AppConfig) -> bool:
    """Test whether the ingress will ask for keys; it ends without keys where it must have them."""
    access = config.api.access
    if access.require_keys or access.keys_file is not None:
        return True
    environment = ingress_environment(application, config)
    return not KeyRing(access, lambda: None, environment).is_open
