"""Ports of this machine, and weights in the cache or on the hub."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from serve_app.config.app import AppConfig
from serve_app.doctor.finding import Finding, note, ok, problem
from serve_app.hub_reachability import hub_endpoint, hub_is_reachable
from serve_app.machine import port_is_free

_DASHBOARD_PORT = 8265  # of Ray; it takes the next free one where that is taken
_EMBEDDED = "embedded:"
_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "state_dict.bin")
_PORTS = "ports"
_WEIGHTS = "weights"


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
    """Yield a finding for each source of weights: inside the package, a folder, the cache, the hub."""
    sources = dict.fromkeys(model.model_loading_config.model_source for model in config.models)
    remote = [source for source in sources if not _is_local(source)]
    here = [source for source in sources if source not in remote]
    is_reachable = hub_is_reachable()
    hub = "the hub answers" if is_reachable else f"the hub ({hub_endpoint()}) cannot be reached"
    if here:
        yield ok(_WEIGHTS, f"{', '.join(here)}: here")
    for source in remote:
        if is_reachable:
            yield ok(_WEIGHTS, f"{source}: not in the cache yet; {hub}")
        else:
            advice = "Check the network, HTTPS_PROXY and HF_ENDPOINT, or name a folder. nano needs no hub."
            yield problem(_WEIGHTS, f"{source} is not in the cache, and {hub}", advice)
    if not remote and not is_reachable:
        advice = "Nothing to do: these weights need no network. Others must be in the cache."
        yield note(_WEIGHTS, hub, advice)


def _is_local(source: str) -> bool:
    """Whether weights need no network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if source.startswith(_EMBEDDED) or Path(source).expanduser().is_dir():
        return True
    with suppress(HFValidationError):
        cached = (try_to_load_from_cache(source, name) for name in _WEIGHT_FILES)
        return any(isinstance(file, str) for file in cached)
    return False


def _owner(port: int) -> str:
    """Name the program that listens on `port`, where this user may know."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            listens = connection.status == psutil.CONN_LISTEN and address and address.port == port
            if listens and connection.pid is not None:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
