"""The certificate chain and the private key of the signer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.config.provenance import ProvenanceConfig
from serve_app.errors import ConfigError
from serve_app.provenance.library import check_installed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

_CURVES = {"es256": "secp256r1", "es384": "secp384r1", "es512": "secp521r1"}
_FEWEST_RSA_BITS = 2048
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A checked pair. chain: PEM, the signer's certificate first; private_key: PEM, PKCS #8;
    valid_from, valid_until: the time in which every certificate of the chain is valid."""

    chain: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    algorithm: str
    valid_from: datetime
    valid_until: datetime

    def days_left(self, now: datetime | None = None) -> float:
        """Days until the first certificate of the chain expires; negative afterwards."""
        return (self.valid_until - (now or datetime.now(UTC))).total_seconds() / _DAY_S

    def is_valid(self, now: datetime | None = None) -> bool:
        """Whether every certificate is valid at the time."""
        return self.valid_from <= (now or datetime.now(UTC)) <= self.valid_until


def read_credentials(
    config: ProvenanceConfig, environment: Mapping[str, str]
) -> Credentials | None:
    """Read and check the configured pair; None where none is configured.

    Raises ConfigError for a pair that cannot sign, for a file or a variable that is there and empty,
    and for none where it is required. No message holds a part of the key.
    """
    chain = _certificate_text(config, environment)
    key = _private_key_text(config, environment)
    if not chain and not key:
        _check_not_needed(config)
        return None
    if not (chain and key):
        lacking = ("private key", "private_key") if chain else ("certificate", "certificate")
        raise ConfigError(
            f"There is no {lacking[0]} to sign with. Put its PEM text into the environment variable "
            f"{getattr(config, f'{lacking[1]}_env')} of the ingress, or name files for both in "
            "provenance.certificate_file and provenance.private_key_file."
        )
    check_installed()
    return _checked(chain, key, config.algorithm)


def _check_not_needed(config: ProvenanceConfig) -> None:
    if not config.required and config.unsigned_formats == "allow":
        return
    option = "required: true" if config.required else "unsigned_formats: refuse"
    raise ConfigError(
        f"provenance.{option} needs a certificate and a private key, and there are none. Name them "
        "in provenance.certificate_file and provenance.private_key_file, or put their PEM texts into "
        f"the environment variables {config.certificate_env} and {config.private_key_env} of the "
        "ingress. `musicgen provenance init` makes a pair for trying."
    )


def _certificate_text(config: ProvenanceConfig, environment: Mapping[str, str]) -> bytes:
    if config.certificate_file is not None:
        return _file_text("certificate_file", config.certificate_file)
    return _variable_text(config.certificate_env, environment)


def _private_key_text(config: ProvenanceConfig, environment: Mapping[str, str]) -> bytes:
    if config.private_key_file is not None:
        return _file_text("private_key_file", config.private_key_file)
    return _variable_text(config.private_key_env, environment)


def _file_text(option: str, file: str) -> bytes:
    """Read a file, and name it by its option alone: a mistaken value may be the key itself."""
    try:
        content = Path(file).read_bytes().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The file of provenance.{option} cannot be read ({type(error).__name__}). "
            "Name a PEM file that the ingress may read."
        ) from None
    if not content:
        raise ConfigError(
            f"The file of provenance.{option} is empty. Put the PEM text into it, or name no file."
        )
    return content


def _variable_text(name: str, environment: Mapping[str, str]) -> bytes:
    """Read a variable; empty: it is not set."""
    content = environment.get(name)
    if content is None:
        return b""
    if not content.strip():
        raise ConfigError(
            f"The environment variable {name} of the ingress is empty. "
            "Put the PEM text into it, or remove the variable."
        )
    return content.strip().encode()


def _checked(chain: bytes, private_key: bytes, algorithm: str) -> Credentials:
    from cryptography.hazmat.primitives import serialization

    certificates = _certificates(chain)
    key = _private_key(private_key)
    _check_algorithm(key, algorithm)
    if certificates[0].public_key() != key.public_key():
        raise ConfigError(
            "The private key is not that of the first certificate of the chain. Put the signer's "
            "own certificate first, or use its key."
        )
    credentials = Credentials(
        chain=b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates),
        private_key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        algorithm=algorithm,
        valid_from=max(one.not_valid_before_utc for one in certificates),
        valid_until=min(one.not_valid_after_utc for one in certificates),
    )
    _check_validity(credentials)
    return credentials


def _certificates(chain: bytes) -> list[Certificate]:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        certificates = x509.load_pem_x509_certificates(chain)
        certificates[0].public_key()
        return certificates
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            "The signing certificate is not PEM text: it must hold the signer's certificate and its "
            f"chain, each between BEGIN CERTIFICATE and END CERTIFICATE.{_line_hint(chain)}"
        ) from error


def _private_key(content: bytes) -> PrivateKeyTypes:
    """Parse a key. The causes are left out: they may quote it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        return serialization.load_pem_private_key(content, password=None)
    except TypeError:
        fault = "has a passphrase: store it without, readable by the service alone"
    except (ValueError, UnsupportedAlgorithm):
        fault = "is not PEM text of a private key"
    raise ConfigError(f"The private key to sign with {fault}.{_line_hint(content)}")


def _line_hint(content: bytes) -> str:
    """Tell of a PEM text whose line breaks were escaped, as shells and JSON do."""
    if b"\\n" not in content:
        return ""
    return " It has the two characters \\n where its lines end: write line breaks instead."


def _check_algorithm(key: PrivateKeyTypes, algorithm: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey):
        found = key.curve.name
        fits = _CURVES.get(algorithm) == found
    elif isinstance(key, rsa.RSAPrivateKey):
        found = f"RSA of {key.key_size} bits"
        fits = algorithm.startswith("ps") and key.key_size >= _FEWEST_RSA_BITS
    else:
        found = type(key).__name__.lower().removesuffix("privatekey")
        fits = algorithm == "ed25519" and isinstance(key, ed25519.Ed25519PrivateKey)
    if not fits:
        raise ConfigError(
            f"provenance.algorithm is '{algorithm}', but the private key is {found}. es256, es384 "
            "and es512 need secp256r1, secp384r1 and secp521r1, ps256 to ps512 RSA of at least "
            f"{_FEWEST_RSA_BITS} bits, ed25519 an Ed25519 key."
        )


def _check_validity(credentials: Credentials) -> None:
    if credentials.is_valid():
        return
    expired = credentials.days_left() < 0
    state = "expired on" if expired else "is not valid before"
    day = credentials.valid_until if expired else credentials.valid_from
    raise ConfigError(
        f"The signing certificate, or one of its chain, {state} {day:%Y-%m-%d %H:%M} UTC. "
        "Put in a valid one."
    )
