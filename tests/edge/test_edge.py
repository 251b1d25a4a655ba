"""The edge of a Serve configuration."""

import socket
import ssl
import subprocess
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pydantic import ValidationError

from serve_app.config.app import AccessConfig
from serve_app.edge.edge import Tls, check_exposure, listen_on, open_edge
from serve_app.edge.haproxy import Address
from serve_app.edge.process import EdgeError
from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.edge.conftest import LOOPBACK, Server

CONFIGURATION: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())


def test_every_configuration_has_an_edge(server: Server) -> None:
    for file in sorted(CONFIGS.glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        address = Address(LOOPBACK, free_port())
        with open_edge(content, address, Address(LOOPBACK, server.server_port)):
            assert httpx.get(f"http://{address}/").json()["size"] == 0


def test_args_that_are_no_configuration_are_refused() -> None:
    content = {"applications": [{"args": {"edge": {"max_url": 1}}}]}
    with (
        pytest.raises(ValidationError, match="max_url"),
        open_edge(content, Address(LOOPBACK, free_port()), Address(LOOPBACK, 1)),
    ):
        pytest.fail("it must not start")


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate for this machine."""
    tls = Tls(tmp_path / "certificate.pem", tmp_path / "key.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
        "-addext",
    ]
    files = ["-keyout", str(tls.key), "-out", str(tls.certificate)]
    subprocess.run(
        [*command, "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True
    )
    return tls


def test_it_ends_tls(server: Server, tls: Tls) -> None:
    address = Address(LOOPBACK, free_port())
    trusting = ssl.create_default_context(cafile=str(tls.certificate))
    with open_edge(CONFIGURATION, address, Address(LOOPBACK, server.server_port), tls):
        answer = httpx.get(f"https://{address}/", verify=trusting).json()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{address}/").raise_for_status()
    assert answer["headers"]["x-forwarded-proto"] == "https"


def test_an_old_tls_is_refused(server: Server, tls: Tls) -> None:
    address = Address(LOOPBACK, free_port())
    old = ssl.create_default_context(cafile=str(tls.certificate))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        open_edge(CONFIGURATION, address, Address(LOOPBACK, server.server_port), tls),
        socket.create_connection(address) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(connection, server_hostname=LOOPBACK)


def test_an_unreadable_certificate_is_an_error(tmp_path: Path, tls: Tls) -> None:
    missing = Tls(tmp_path / "none.pem", tls.key)
    broken = Tls(tls.key, tls.key)
    for files, message in ((missing, "none.pem"), (broken, "refuses its configuration")):
        with (
            pytest.raises(EdgeError, match=message),
            open_edge(CONFIGURATION, Address(LOOPBACK, free_port()), Address(LOOPBACK, 1), files),
        ):
            pytest.fail("it must not start")


def test_beyond_this_machine_a_service_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(EdgeError, match=r"without API keys.*export MUSICGEN_API_KEYS.*--open"):
            check_exposure(host, AccessConfig())
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        check_exposure(host, AccessConfig())
    check_exposure("0.0.0.0", AccessConfig(keys_file="keys"))
    check_exposure("0.0.0.0", AccessConfig(require_keys=True))
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:0123456789abcdef")
    check_exposure("0.0.0.0", AccessConfig())


def test_an_open_service_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    address = Address("0.0.0.0", free_port())
    upstream = Address(LOOPBACK, server.server_port)
    with pytest.raises(EdgeError, match="--open"), open_edge(CONFIGURATION, address, upstream):
        pytest.fail("it must not start")
    with open_edge(CONFIGURATION, address, upstream, open_to_all=True):
        assert httpx.get(f"http://127.0.0.1:{address.port}/").status_code == 200


def test_a_taken_port_and_a_foreign_address_are_named() -> None:
    with listen_on(Address(LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EdgeError, match=rf"cannot listen on 127.0.0.1:{port}: Address already"):
            listen_on(Address(LOOPBACK, port))
    with pytest.raises(EdgeError, match=r"cannot listen on 192.0.2.1:8000: Cannot assign"):
        listen_on(Address("192.0.2.1", 8000))


def test_ipv6_addresses_have_brackets() -> None:
    assert str(Address("::1", 8000)) == "[::1]:8000"
    with listen_on(Address("::", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            assert listener.family is socket.AF_INET6
