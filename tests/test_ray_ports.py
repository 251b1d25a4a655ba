"""Attacks on every port of a running service: nobody runs commands through Ray without its token."""

import asyncio
import contextlib
import os
import pickle
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from ray.serve.generated.serve_pb2 import ASGIRequest
from ray.serve.generated.serve_pb2_grpc import ASGIServiceStub

from serve_app.launcher import Service
from tests.processes import command_line, raylet_option

RAY = str(Path(sys.executable).parent / "ray")
DASHBOARD_JOBS = "/api/jobs/"
AGENT_JOBS = "/api/job_agent/jobs/"
NO_TOKEN = None
PATIENCE_S = 180  # a busy machine is slow; only a failing test waits as long
ANSWER_S = 5  # for which an attack waits for a port that may speak another protocol
Answers = dict[tuple[str, int], Any]


def listeners(service: Service) -> Iterator[tuple[str, str, int]]:
    """Each process that listens, with the address and the port."""
    for process in service.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield process.name(), connection.laddr.ip, connection.laddr.port


def addresses() -> list[str]:
    """This machine's, of every interface."""
    found = psutil.net_if_addrs().values()
    return sorted(
        {one.address for interface in found for one in interface if one.family == socket.AF_INET}
    )


async def everywhere(service: Service, attack: Callable[[str, int], Any]) -> Answers:
    """An attack's answers by address and port."""
    ports = {port for _, _, port in listeners(service)}
    targets = [(address, port) for address in addresses() for port in sorted(ports)]
    answers = await asyncio.gather(*(attack(*target) for target in targets))
    return dict(zip(targets, answers, strict=True))


def authorization(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}".strip()}


async def post_job(
    address: str,
    port: int,
    path: str,
    token: str | None,
    file: Path,
    patience_s: float = ANSWER_S,
) -> int | None:
    """The status, None without an HTTP answer."""
    async with httpx.AsyncClient(timeout=patience_s, headers=authorization(token)) as client:
        try:
            body = {"entrypoint": f"touch {file}"}
            response = await client.post(f"http://{address}:{port}{path}", json=body)
        except httpx.TransportError:
            return None
    return response.status_code


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._file,)


async def send_pickle(
    address: str, port: int, token: str | None, file: Path
) -> grpc.StatusCode | None:
    """Call a Serve replica's own gRPC service, which unpickles what it gets."""
    request = ASGIRequest(pickled_request_metadata=pickle.dumps(Touch(file)))
    metadata = tuple(authorization(token).items())
    async with grpc.aio.insecure_channel(f"{address}:{port}") as channel:
        try:
            await ASGIServiceStub(channel).HandleRequest(
                request, metadata=metadata, timeout=ANSWER_S
            )
        except grpc.aio.AioRpcError as error:
            return error.code()
    return None


@pytest.fixture
def token() -> str:
    return os.environ["RAY_AUTH_TOKEN"]


@pytest.mark.long
@pytest.mark.parametrize(
    "wrong", [NO_TOKEN, "", secrets.token_hex(32)], ids=["none", "empty", "wrong"]
)
@pytest.mark.parametrize("path", [DASHBOARD_JOBS, AGENT_JOBS])
async def test_no_port_takes_a_job_without_the_token(
    service: Service, tmp_path: Path, path: str, wrong: str | None
) -> None:
    """All servers of HTTP refuse it: the dashboard, the runtime environments' agent and the node's.

    The attack is repeated until a busy machine's agents have answered in time.
    """
    file = tmp_path / "ran"
    servers = 3 if await runs_jobs(service) else 2
    refusals: set[tuple[str, int]] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(refusals) < servers:
            answers = await everywhere(
                service, lambda address, port: post_job(address, port, path, wrong, file)
            )
            assert len(answers) > 10
            assert set(answers.values()) <= {None, 401, 403, 404, 405}, answers
            refusals |= {target for target, status in answers.items() if status in (401, 403)}
    assert not file.exists()


async def test_the_tokens_owner_runs_jobs(service: Service, tmp_path: Path, token: str) -> None:
    """The attack above is one: it works with the token."""
    file = tmp_path / "ran"
    port = int(str(service.dashboard_url).rpartition(":")[2])
    is_run = await runs_jobs(service)
    async with asyncio.timeout(2 * PATIENCE_S):
        status = await post_job("127.0.0.1", port, DASHBOARD_JOBS, token, file, PATIENCE_S)
        while is_run and status == 500:  # the dashboard does not know the agent yet
            status = await post_job("127.0.0.1", port, DASHBOARD_JOBS, token, file, PATIENCE_S)
    assert status == (200 if is_run else 500), "not refused; there may be nothing that runs it"
    if is_run:
        await until_exists(file)


async def runs_jobs(service: Service) -> bool:
    """Tell whether the node's agent serves HTTP, once that is known.

    It does not where another Ray's agent has the port, which `serve run` cannot choose.
    """
    session = Path(raylet_option(service.processes(), "--log_dir=")).parent
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for file in session.glob("dashboard_agent_listen_port_*"):
                if written := file.read_text().strip():
                    return int(written) > 0
            await asyncio.sleep(0.1)


async def until_exists(file: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(file.exists):  # noqa: ASYNC110 - another process creates it
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("wrong", [NO_TOKEN, secrets.token_hex(32)], ids=["none", "wrong"])
async def test_no_port_unpickles_without_the_token(
    service: Service, tmp_path: Path, wrong: str | None, token: str
) -> None:
    file = tmp_path / "ran"
    seen: set[grpc.StatusCode | None] = set()
    async with asyncio.timeout(PATIENCE_S):
        while grpc.StatusCode.UNAUTHENTICATED not in seen:
            codes = await everywhere(
                service, lambda address, port: send_pickle(address, port, wrong, file)
            )
            seen |= set(codes.values())
            assert None not in seen
        assert not file.exists()
        while not await asyncio.to_thread(file.exists):
            await everywhere(service, lambda address, port: send_pickle(address, port, token, file))


def test_only_serves_own_servers_listen_beyond_the_loopback(service: Service) -> None:
    """A replica's gRPC server listens on all interfaces: Serve has no option for its address. It asks for the token."""
    open_to_all = {
        name for name, address, _ in listeners(service) if not address.endswith("127.0.0.1")
    }
    assert all(name.startswith("ray::ServeReplica") for name in open_to_all), open_to_all


@pytest.mark.parametrize("mode", ["token", "no token"])
def test_a_client_without_the_token_does_not_connect(
    service: Service, token: str, mode: str
) -> None:
    address = raylet_option(service.processes(), "--gcs-address=")
    command = [RAY, "status", "--address", address]
    allowed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert allowed.returncode == 0, allowed.stderr
    environment = os.environ | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if mode != "token":
        del environment["RAY_AUTH_MODE"], environment["RAY_AUTH_TOKEN"]
        environment["HOME"] = "/nowhere"
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "uthenticat" in refused.stdout + refused.stderr
    assert token not in refused.stdout + refused.stderr


def test_the_token_is_on_no_command_line_and_in_no_log(service: Service, token: str) -> None:
    lines = [" ".join(command_line(process)) for process in service.processes()]
    assert len(lines) > 5
    assert [line for line in lines if token in line] == []
    assert token not in service.log
    folder = raylet_option(service.processes(), "--log_dir=")
    logs = [file for file in Path(folder).rglob("*") if file.is_file()]
    assert len(logs) > 5
    assert not [file.name for file in logs if token in file.read_text(errors="replace")]
