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

from serve_app.config.app import AppConfig
from serve_app.edge.edge import listen_on, open_edge
from serve_app.edge.edge_error import EdgeError
from serve_app.edge.exposure import check_exposure
from serve_app.edge.haproxy import Address
from serve_app.edge.tls import Tls
from serve_app.errors import ConfigError
from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.edge.conftest import LOOPBACK, PATIENCE_S, Server, get

CONFIGURATION: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())


def test_every_configuration_has_an_edge(server: Server) -> None:
    for file in sorted(CONFIGS.glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        address = Address(LOOPBACK, free_port())
        with open_edge(content, address, Address(LOOPBACK, server.server_port)):
            assert get(f"http://{address}/").json()["size"] == 0


def test_args_that_are_no_configuration_are_refused() -> None:
    content = {"applications": [{"args": {"edge": {"max_url": 1}}}]}
    with (
        pytest.raises(
            ConfigError, match=r"edge\.max_url: unknown option\. Did you mean max_url_bytes\?"
        ),
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
        answer = get(f"https://{address}/", verify=trusting).json()
        with pytest.raises(httpx.TransportError):
            get(f"http://{address}/").raise_for_status()
    assert answer["headers"]["x-forwarded-proto"] == "https"


def test_an_old_tls_is_refused(server: Server, tls: Tls) -> None:
    address = Address(LOOPBACK, free_port())
    old = ssl.create_default_context(cafile=str(tls.certificate))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        open_edge(CONFIGURATION, address, Address(LOOPBACK, server.server_port), tls),
        socket.create_connection(address, PATIENCE_S) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(connection, server_hostname=LOOPBACK)


def test_a_certificate_that_cannot_be_used_is_an_error(tmp_path: Path, tls: Tls) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", tls.key, "-aes256", "-passout", "pass:a", "-out", locked],
        check=True,
    )
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genrsa", "-out", other, "2048"], check=True, capture_output=True)
    for files, message in (
        (Tls(tmp_path / "none.pem", tls.key), "none.pem.*No such file"),
        (Tls(tls.key, tls.key), "cannot be used"),
        (Tls(tls.certificate, other), "Give PEM files that belong together"),
        (Tls(tls.certificate, locked), r"has a pass phrase.*openssl pkey"),
    ):
        with (
            pytest.raises(EdgeError, match=message),
            open_edge(CONFIGURATION, Address(LOOPBACK, free_port()), Address(LOOPBACK, 1), files),
        ):
            pytest.fail("it must not start")


def exposed(host: str, application: dict[str, Any] | None = None, **access: Any) -> None:
    models = [{"model_loading_config": {"model_id": "a", "model_source": "b"}}]
    config = AppConfig.model_validate({"models": models, "api": {"access": access}})
    check_exposure(host, application or {}, config)


@pytest.mark.parametrize("value", [None, "", " "])
def test_beyond_this_machine_a_service_needs_keys(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    if value is not None:
        monkeypatch.setenv("MUSICGEN_API_KEYS", value)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(EdgeError, match=r"without API keys.*export MUSICGEN_API_KEYS.*--open"):
            exposed(host)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        exposed(host)
    exposed("0.0.0.0", keys_file="keys")
    exposed("0.0.0.0", require_keys=True)


@pytest.mark.parametrize("value", [",", "#comment", " , ", "#web:0123456789abcdef"])
def test_a_variable_without_a_key_is_no_protection(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", value)
    with pytest.raises(ConfigError, match="MUSICGEN_API_KEYS is set, but holds no key"):
        exposed("0.0.0.0")


def test_the_keys_are_those_of_the_ingress(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `runtime_env` overrides the shell's variables."""
    keys = {"runtime_env": {"env_vars": {"MUSICGEN_API_KEYS": "web:0123456789abcdef"}}}
    without = {"runtime_env": {"env_vars": {"MUSICGEN_API_KEYS": ""}}}
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    exposed("0.0.0.0", keys)
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:0123456789abcdef")
    exposed("0.0.0.0")
    with pytest.raises(EdgeError, match="without API keys"):
        exposed("0.0.0.0", without)


def test_every_application_of_this_package_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    open_to_all = CONFIGURATION["applications"][0]
    closed = yaml.safe_load(yaml.safe_dump(open_to_all))
    closed["args"]["api"]["access"]["require_keys"] = True
    content = CONFIGURATION | {"applications": [closed, open_to_all]}
    with (
        pytest.raises(EdgeError, match="without API keys"),
        open_edge(content, Address("0.0.0.0", free_port()), Address(LOOPBACK, 1)),
    ):
        pytest.fail("it must not start")


@pytest.mark.parametrize("value", ["soon", -1, 0, True])
def test_times_of_serves_proxy_are_numbers(value: object) -> None:
    content = CONFIGURATION | {"http_options": {"keep_alive_timeout_s": value}}
    with (
        pytest.raises(
            EdgeError, match=r"http_options.keep_alive_timeout_s must be a number of sec"
        ),
        open_edge(content, Address(LOOPBACK, free_port()), Address(LOOPBACK, 1)),
    ):
        pytest.fail("it must not start")


def test_an_open_service_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    address = Address("0.0.0.0", free_port())
    upstream = Address(LOOPBACK, server.server_port)
    with pytest.raises(EdgeError, match="--open"), open_edge(CONFIGURATION, address, upstream):
        pytest.fail("it must not start")
    with open_edge(CONFIGURATION, address, upstream, open_to_all=True):
        assert get(f"http://127.0.0.1:{address.port}/").status_code == 200


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
