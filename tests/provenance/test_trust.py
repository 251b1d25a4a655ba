"""Trust anchors are certificates and nothing else."""

from pathlib import Path

import pytest

from serve_app.errors import ConfigError
from serve_app.provenance import trust
from serve_app.provenance.trust import read_anchors
from tests.credentials import pair

ROOT = pair().root
BROKEN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def test_certificates_are_read_with_text_around_them(tmp_path: Path) -> None:
    file = tmp_path / "root.pem"
    file.write_bytes(b"# a list\n" + ROOT + b"\n# two\n" + ROOT)
    assert read_anchors(file).count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "has no certificate"),
        (b"garbage", "has no certificate"),
        (b"\xff\xfe\x00", "is not text"),
        (pair().private_key, "has a private key"),
        (ROOT + pair().private_key, "has a private key"),
        (BROKEN, "has a certificate that cannot be read"),
        (ROOT + BROKEN, "has a certificate that cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\n", "has a certificate that cannot be read"),
        (ROOT + b" " * 2**20, "has more than 1048576 bytes"),
        (None, "cannot be read: No such file"),
    ],
)
def test_any_other_file_is_an_error_that_names_it(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    file = tmp_path / "root.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_anchors(file)
    assert error.value.message.startswith(f"{file} {fault}")
    assert "\n" not in error.value.message


def test_the_extra_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "find_spec", lambda _: None)
    (tmp_path / "root.pem").write_bytes(ROOT)
    with pytest.raises(ConfigError, match="uv sync --extra c2pa"):
        read_anchors(tmp_path / "root.pem")
