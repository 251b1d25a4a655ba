"""Signatures: valid for an independent reader, and errors where they cannot be made."""

import asyncio
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import time
from typing import Any, get_args

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, WAV, Encoding
from serve_app.config.provenance import Algorithm, ProvenanceConfig
from serve_app.errors import ConfigError, DeadlineExceeded, SigningFailed
from serve_app.provenance import signer as signer_module
from serve_app.provenance.credentials import Credentials, read_credentials
from serve_app.provenance.library import offline_context
from serve_app.provenance.manifest import Generated
from serve_app.provenance.self_signed import Pair
from serve_app.provenance.signer import ManifestSigner
from tests.audio.files import tone
from tests.credentials import SOUND, active, faults, pair, read, state, stored
from tests.provenance.timestamp_server import timestamp_server

DEFINITION = Generated("small", "facebook/musicgen-small", {"title": "lofi"}).definition()


def credentials(
    folder: Path, made: Pair | None = None, algorithm: Algorithm = "es256"
) -> Credentials:
    found = read_credentials(stored(folder, made, algorithm), {})
    assert found is not None
    return found


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
async def test_every_algorithm(tmp_path: Path, algorithm: Algorithm) -> None:
    signer = ManifestSigner(credentials(tmp_path, algorithm=algorithm))
    file = encode(tone(0.2), 32_000, Encoding(WAV))
    signed = await signer.embed(file, WAV.media_type, DEFINITION)
    store = read(signed, WAV.media_type)
    assert store["validation_state"] in SOUND
    assert faults(store) == set()


@pytest.mark.parametrize("name", [name for name, spec in FORMATS.items() if spec.holds_manifest])
async def test_every_format(tmp_path: Path, name: str) -> None:
    spec = FORMATS[name]
    signer = ManifestSigner(credentials(tmp_path))
    file = encode(tone(0.2, channels=2), 32_000, Encoding(spec))
    signed = await signer.embed(file, spec.media_type, DEFINITION)
    assert state(signed, spec.media_type) in SOUND


async def test_a_reader_that_knows_the_root_trusts_the_signature(tmp_path: Path) -> None:
    signer = ManifestSigner(credentials(tmp_path))
    manifest = await signer.detach(b"x", "audio/ogg", DEFINITION)
    context = offline_context(pair().root.decode())
    reader = c2pa.Reader("audio/ogg", io.BytesIO(b"x"), manifest, context=context)
    assert reader.get_validation_state() == "Trusted"


async def test_signatures_go_on_at_the_same_time(tmp_path: Path) -> None:
    signer = ManifestSigner(credentials(tmp_path))
    files = [encode(tone(0.1 * n), 32_000, Encoding(WAV)) for n in range(1, 9)]
    jobs = (signer.embed(file, WAV.media_type, DEFINITION) for file in files)
    for signed in await asyncio.gather(*jobs):
        assert state(signed, WAV.media_type) in SOUND


def test_a_certificate_for_another_purpose_is_refused_at_the_start(tmp_path: Path) -> None:
    """A root signs certificates: its key must sign no claim."""
    key = serialization.load_pem_private_key(pair().private_key, None)
    leaf, root = x509.load_pem_x509_certificates(pair().chain)
    builder = x509.CertificateBuilder(
        leaf.issuer, leaf.subject, leaf.public_key(), x509.random_serial_number(),
        leaf.not_valid_before_utc, leaf.not_valid_after_utc,
    )  # fmt: skip
    useless = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    pem = serialization.Encoding.PEM
    made = Pair(useless.public_bytes(pem) + root.public_bytes(pem), pair().private_key, b"")
    with pytest.raises(ConfigError, match=r"cannot sign|extended key usage"):
        ManifestSigner(credentials(tmp_path, made))


async def test_a_file_of_another_format_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signer = ManifestSigner(credentials(tmp_path))
    with pytest.raises(SigningFailed) as caught:
        await signer.embed(b"no wav", WAV.media_type, DEFINITION)
    assert caught.value.headers["retry-after"] == "1"
    assert "could not be signed" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


@pytest.fixture
def asked() -> Iterator[tuple[str, list[bytes]]]:
    """URL of a time-stamp server that gives none, and the requests that it got."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(503)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", bodies
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_time_stamp_server_is_asked_for_each_file(
    tmp_path: Path, asked: tuple[str, list[bytes]]
) -> None:
    url, bodies = asked
    signer = ManifestSigner(credentials(tmp_path), url)
    assert bodies == [], "not at the start"
    with pytest.raises(SigningFailed):
        await signer.detach(b"x", "audio/ogg", DEFINITION)
    assert bodies


async def test_a_time_stamp_is_in_the_signature(tmp_path: Path) -> None:
    with timestamp_server(tmp_path) as url:
        signer = ManifestSigner(credentials(tmp_path), url)
        manifest = await signer.detach(b"x", "audio/ogg", DEFINITION)
    store = read(b"x", "audio/ogg", manifest)
    assert store["validation_state"] in SOUND
    stamped = datetime.fromisoformat(active(store)["signature_info"]["time"])
    assert abs((datetime.now(UTC) - stamped).total_seconds()) < 60
    without = await ManifestSigner(credentials(tmp_path)).detach(b"x", "audio/ogg", DEFINITION)
    assert "time" not in active(read(b"x", "audio/ogg", without))["signature_info"]


async def test_a_server_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = ManifestSigner(credentials(tmp_path))
    goes_on = threading.Event()
    monkeypatch.setattr(signer_module, "_MOST_S", 0.05)
    monkeypatch.setattr(signer, "_sign_logged", lambda _: goes_on.wait(60))
    try:
        with pytest.raises(SigningFailed):
            await signer.detach(b"x", "audio/ogg", DEFINITION)
    finally:
        goes_on.set()


@pytest.mark.parametrize("left_s", [0.05, -1.0])
async def test_the_deadline_of_a_request_ends_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_s: float
) -> None:
    signer = ManifestSigner(credentials(tmp_path))
    goes_on = threading.Event()
    monkeypatch.setattr(signer, "_sign_logged", lambda _: goes_on.wait(60))
    try:
        for write in (signer.embed, signer.detach):
            with pytest.raises(DeadlineExceeded, match="before the file was signed"):
                await write(b"x", "audio/ogg", DEFINITION, time() + left_s)
    finally:
        goes_on.set()


def test_expiry_is_checked_by_the_clock(tmp_path: Path) -> None:
    pair_found = credentials(tmp_path)
    assert pair_found.is_valid(pair_found.valid_until)
    assert not pair_found.is_valid(pair_found.valid_until.replace(year=2100))
    assert ProvenanceConfig().timestamp_url is None
