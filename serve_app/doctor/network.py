"""Ports of this machine, and weights in the cache or on the hub."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import psutil

from serve_app.checkpoints.inventory import check_adapter, check_named
from serve_app.config.app import AppConfig
from serve_app.doctor.finding import Finding, note, ok, problem
from serve_app.errors import CheckpointError
from serve_app.hub_reachability import hub_endpoint, hub_is_reachable
from serve_app.machine import port_is_free

_DASHBOARD_PORT = 8265  # of Ray; it takes the next free one where that is taken
_PORTS = "ports"
_WEIGHTS = "weights"
_ADVICE = "The service refuses to start until that is mended. The configuration nano needs neither files nor hub."


def check_ports(content: dict[str, Any], port: int) -> Iterator[Finding]:
    """Yield one finding for the free ports, and one for each taken port."""
    needed = {port: "HTTP"}
    if grpc_port := (content.get("grpc_options") or {}).get("port"):
        needed[grpc_port] = "gRPC"
    free = [f"{one} ({use})" for one, use in needed.items() if port_is_free(one)]
    if free:
        yield ok(_PORTS, f"{', '.join(free)} free; Ray takes others that are free")
    for one, use in needed.items():
        if not port_is_free(one):
            advice = "Stop that program, or choose another port with --port."
            yield problem(_PORTS, f"{one} ({use}) is taken{_owner(one)}", advice)
    if not port_is_free(_DASHBOARD_PORT):
        state = f"{_DASHBOARD_PORT} is taken{_owner(_DASHBOARD_PORT)}"
        yield note(_PORTS, state, "Ray's dashboard takes the next free port.")


def check_weights(config: AppConfig) -> Iterator[Finding]:
    """Yield a finding for the sources of weights here, and one for each on the hub or at fault.

    Each source that the configuration names is checked as a start does.
    """
    named = [one for model in config.served for one in model.model_loading_config.sources]
    here: list[str] = []
    others: list[Finding] = []
    for model in dict.fromkeys(named):
        _add(model.source, _checked(model.source, partial(check_named, model)), here, others)
    for source in dict.fromkeys(config.adapters):
        _add(source, _checked(source, partial(check_adapter, source)), here, others)
    if here:
        yield ok(_WEIGHTS, f"{', '.join(dict.fromkeys(here))}: here")
    yield from others
    if not others and not hub_is_reachable():
        advice = "Nothing to do: these weights need no network. Others must be in the cache."
        yield note(_WEIGHTS, f"the hub ({hub_endpoint()}) cannot be reached", advice)


def _add(source: str, finding: Finding | None, here: list[str], others: list[Finding]) -> None:
    """Sort a source in: here without a finding."""
    if finding is None:
        here.append(source)
    else:
        others.append(finding)


def _checked(source: str, check: Callable[[], bool]) -> Finding | None:
    """Check one source. None if its weights are here and whole."""
    try:
        if check():
            return None
    except CheckpointError as error:
        return problem(_WEIGHTS, error.message, _ADVICE)
    return ok(_WEIGHTS, f"{source}: not in the cache yet; the hub has it")


def _owner(port: int) -> str:
    """Name the program that listens on `port`, where this user may know."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            listens = connection.status == psutil.CONN_LISTEN and address and address.port == port
            if listens and connection.pid is not None:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
