"""Certificates whose signers are trusted, from a file of an operator or an auditor."""

from importlib.util import find_spec
from pathlib import Path

from serve_app.errors import ConfigError
from serve_app.provenance.library import offline_context

_MOST_BYTES = 2**20  # the C2PA Trust List has about 50 kB
_KEY = "PRIVATE KEY-----"


def read_anchors(file: Path) -> str:
    """Read certificates in PEM. No message holds a part of the file.

    Raises ConfigError, which names the file, for one that cannot be read, is no text or too large,
    has a private key or no certificate, or one that the library refuses.
    """
    text = _text(file)
    if _KEY in text:
        raise ConfigError(f"{file} has a private key: give certificates alone")
    if not all(find_spec(name) for name in ("c2pa", "cryptography")):
        raise ConfigError(
            f"{file} is of use with the extra `c2pa` alone. Install it: `uv sync --extra c2pa`, or "
            "`pip install 'musicgen-serve[c2pa]'`."
        )
    _check_certificates(file, text)
    return text


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not text: give certificates in PEM") from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{file} has more than {_MOST_BYTES} bytes: give fewer certificates")
    return text


def _check_certificates(file: Path, text: str) -> None:
    import c2pa
    from cryptography.x509 import load_pem_x509_certificates

    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigError(f"{file} has no certificate: give certificates in PEM")
    try:
        load_pem_x509_certificates(text.encode())
        offline_context(text)
    except (ValueError, c2pa.C2paError) as error:
        raise ConfigError(f"{file} has a certificate that cannot be read: give PEM") from error
