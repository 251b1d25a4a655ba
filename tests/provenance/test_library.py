"""Reading an upload opens no connection."""

import asyncio
import io
import socket
import threading

import c2pa
import pytest

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.provenance.library import check_installed, offline_context
from serve_app.provenance.manifest import Generated
from serve_app.provenance.parent import read_parent
from tests.audio.files import tone
from tests.credentials import pair

SIGNED = [name for name, spec in FORMATS.items() if spec.holds_manifest]


def test_the_extra_is_installed() -> None:
    check_installed()


@pytest.mark.parametrize("name", SIGNED)
async def test_an_address_in_a_file_is_not_asked(name: str) -> None:
    """The file names a manifest at an address that listens. The library's defaults ask it."""
    spec = FORMATS[name]
    with socket.create_server(("127.0.0.1", 0)) as server:
        file = remote(name, server.getsockname()[1])
        assert read_parent(file).archive == b""
        with pytest.raises(c2pa.C2paError, match="Remote"):
            c2pa.Reader(spec.media_type, io.BytesIO(file), context=offline_context())
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        asked = threading.Event()
        server.settimeout(60)
        thread = threading.Thread(target=hang_up, args=(server, asked))
        thread.start()
        with pytest.raises(c2pa.C2paError, match="Remote"):
            await asyncio.to_thread(c2pa.Reader, spec.media_type, io.BytesIO(file))
        thread.join()
        assert asked.is_set(), "the file is one that the defaults follow"


def hang_up(server: socket.socket, asked: threading.Event) -> None:
    connection, _ = server.accept()
    asked.set()
    connection.close()


def remote(name: str, port: int) -> bytes:
    """A file whose manifest is at an address."""
    spec = FORMATS[name]
    info = c2pa.C2paSignerInfo("es256", pair().chain, pair().private_key, None)
    target = io.BytesIO()
    source = io.BytesIO(encode(tone(0.2), 32_000, Encoding(spec)))
    builder = c2pa.Builder(Generated("small", "small", {}).definition())
    builder.set_no_embed()
    builder.set_remote_url(f"http://127.0.0.1:{port}/manifest.c2pa")
    builder.sign(c2pa.Signer.from_info(info), spec.media_type, source, target)
    return target.getvalue()
