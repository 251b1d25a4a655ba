"""Certificates and keys are checked before anything is signed; no error shows a part of the key."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from serve_app.config.provenance import ProvenanceConfig
from serve_app.errors import ConfigError
from serve_app.provenance import library
from serve_app.provenance.credentials import Credentials, read_credentials
from serve_app.provenance.self_signed import Pair
from tests.credentials import expired_pair, pair, stored


def fault(config: ProvenanceConfig, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read_credentials(config, environment or {})
    message = caught.value.message
    body = pair().private_key.decode().splitlines()[1]
    assert body not in message
    assert body not in repr(caught.value.__cause__)
    return message


def found(config: ProvenanceConfig, environment: dict[str, str] | None = None) -> Credentials:
    credentials = read_credentials(config, environment or {})
    assert credentials is not None
    return credentials


def test_a_pair_in_files(tmp_path: Path) -> None:
    credentials = found(stored(tmp_path))
    assert credentials.chain.count(b"BEGIN CERTIFICATE") == 2
    assert credentials.private_key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert 364 < credentials.days_left() < 365
    assert credentials.is_valid()


def test_a_pair_in_the_environment() -> None:
    environment = {
        "MUSICGEN_C2PA_CERTIFICATE": pair().chain.decode(),
        "MUSICGEN_C2PA_PRIVATE_KEY": pair().private_key.decode(),
    }
    assert found(ProvenanceConfig(), environment) == found(ProvenanceConfig(), environment)


def test_a_key_in_the_older_form_of_its_curve(tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(pair().private_key, None)
    older = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert b"EC PRIVATE KEY" in older
    made = Pair(pair().chain, older, pair().root)
    assert b"BEGIN PRIVATE KEY" in found(stored(tmp_path, made)).private_key


def test_no_text_shows_the_key(tmp_path: Path) -> None:
    credentials = found(stored(tmp_path))
    body = pair().private_key.decode().splitlines()[1]
    assert body not in repr(credentials)
    assert body not in str(credentials)
    assert body not in repr(pair())


def test_nothing_is_signed_without_a_pair() -> None:
    assert read_credentials(ProvenanceConfig(), {}) is None


@pytest.mark.parametrize("options", [{"required": True}, {"unsigned_formats": "refuse"}])
def test_a_pair_that_is_needed(options: dict[str, Any]) -> None:
    message = fault(ProvenanceConfig(**options))
    assert "there are none" in message
    assert "musicgen provenance init" in message
    [(option, _)] = options.items()
    assert option in message


@pytest.mark.parametrize(
    ("given", "lacking"), [("certificate", "private_key"), ("private_key", "certificate")]
)
def test_half_a_pair(given: str, lacking: str) -> None:
    texts = {"certificate": pair().chain, "private_key": pair().private_key}
    message = fault(ProvenanceConfig(), {f"MUSICGEN_C2PA_{given.upper()}": texts[given].decode()})
    assert f"provenance.{lacking}_file" in message


def test_half_a_pair_of_files_is_refused_by_the_configuration() -> None:
    with pytest.raises(ValueError, match="go together"):
        ProvenanceConfig(certificate_file="a.pem")


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    config = stored(tmp_path)
    (tmp_path / "private_key.pem").unlink()
    message = fault(config)
    assert "provenance.private_key_file cannot be read (FileNotFoundError)" in message
    assert str(tmp_path) not in message


@pytest.mark.parametrize("content", [b"", b" \n"])
@pytest.mark.parametrize(
    "names", [["certificate"], ["private_key"], ["certificate", "private_key"]]
)
def test_an_empty_file_is_no_way_to_sign_nothing(
    tmp_path: Path, names: list[str], content: bytes
) -> None:
    config = stored(tmp_path)
    for name in names:
        (tmp_path / f"{name}.pem").write_bytes(content)
    assert f"The file of provenance.{names[0]}_file is empty" in fault(config)


@pytest.mark.parametrize("name", ["MUSICGEN_C2PA_CERTIFICATE", "MUSICGEN_C2PA_PRIVATE_KEY"])
def test_an_empty_variable_is_no_way_to_sign_nothing(name: str) -> None:
    assert f"{name} of the ingress is empty" in fault(ProvenanceConfig(), {name: "\n"})


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("certificate.pem", b"no PEM", "signing certificate is not PEM"),
        ("private_key.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "is not PEM text"),
        ("private_key.pem", b"no PEM", "is not PEM text"),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    config = stored(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert expected in fault(config)


def test_line_breaks_that_were_escaped() -> None:
    chain = pair().chain.decode()
    key = pair().private_key.decode()
    names = ("MUSICGEN_C2PA_CERTIFICATE", "MUSICGEN_C2PA_PRIVATE_KEY")
    for texts in ((chain.replace("\n", "\\n"), key), (chain, key.replace("\n", "\\n"))):
        environment = dict(zip(names, texts, strict=True))
        assert r"the two characters \n where its lines end" in fault(
            ProvenanceConfig(), environment
        )


def test_a_name_that_is_the_key_is_not_quoted() -> None:
    """Base64 alone, without the frame of PEM, which the configuration refuses."""
    body = "".join(pair().private_key.decode().splitlines()[1:-1])
    message = fault(ProvenanceConfig(certificate_file=body, private_key_file=body))
    assert body[-20:] not in message
    assert "provenance.certificate_file cannot be read" in message


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(pair().private_key, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert "passphrase" in fault(stored(tmp_path, Pair(pair().chain, locked, pair().root)))


def test_an_expired_certificate(tmp_path: Path) -> None:
    assert "expired on" in fault(stored(tmp_path, expired_pair()))


def test_the_key_of_another_certificate(tmp_path: Path) -> None:
    other = Pair(pair().chain, expired_pair().private_key, pair().root)
    assert "is not that of the first certificate" in fault(stored(tmp_path, other))


def test_a_chain_in_the_wrong_order(tmp_path: Path) -> None:
    root_first = Pair(pair().root + pair().chain, pair().private_key, pair().root)
    assert "is not that of the first certificate" in fault(stored(tmp_path, root_first))


@pytest.mark.parametrize("algorithm", ["es384", "es512", "ps256", "ed25519"])
def test_a_key_of_another_algorithm(tmp_path: Path, algorithm: Any) -> None:
    message = fault(stored(tmp_path, pair("es256"), algorithm))
    assert f"is '{algorithm}', but the private key is secp256r1" in message


def test_a_key_that_is_not_elliptic(tmp_path: Path) -> None:
    assert "is RSA of 3072 bits" in fault(stored(tmp_path, pair("ps256"), "es256"))
    assert "is ed25519" in fault(stored(tmp_path, pair("ed25519"), "es256"))


def test_the_extra_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is needed for signing alone."""
    monkeypatch.setattr(library, "find_spec", lambda name: None if name == "c2pa" else object())
    message = fault(stored(tmp_path))
    assert "uv sync --extra c2pa" in message
    assert read_credentials(ProvenanceConfig(), {}) is None
