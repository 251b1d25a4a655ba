"""Content encodings of request bodies."""

import gzip
import tracemalloc
import zlib

import pytest

from serve_app.api.body_decoder import BodyDecoder
from serve_app.api.errors import UnsupportedEncoding
from serve_app.errors import InvalidRequest, PayloadTooLarge

TEXT = b'{"prompt": "lofi beat"}' * 40


def decoded(encoding: str, body: bytes, size: int = 7, max_bytes: int = 2000) -> bytes:
    """Decode a body in parts of `size` bytes."""
    decoder = BodyDecoder(encoding, max_bytes)
    for start in range(0, len(body), size):
        decoder.add(body[start : start + size])
    return decoder.finish()


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("identity, Identity,", TEXT),
        ("gzip, identity", gzip.compress(TEXT)),
        ("identity, deflate", zlib.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:300]) + gzip.compress(b"") + gzip.compress(TEXT[300:])),
        ("gzip", gzip.compress(TEXT)),
        (" X-GZIP ", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
    ],
)
def test_bodies_are_decoded(encoding: str, body: bytes, size: int) -> None:
    assert decoded(encoding, body, size) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match="gzip, deflate"):
        BodyDecoder(encoding, 100)


@pytest.mark.parametrize(
    "body",
    [
        b"", TEXT, gzip.compress(TEXT)[:-1], gzip.compress(TEXT) + b"x", gzip.compress(TEXT) + gzip.compress(TEXT)[:-1],
        b"\x1f\x8b" + TEXT,
        gzip.compress(TEXT)[:-8] + b"\0" * 8,
    ],
    ids=["empty", "plain", "cut off", "trailing", "second cut off", "damaged", "wrong checksum"],
)  # fmt: skip
def test_broken_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not valid gzip"):
        decoded("gzip", body)


def test_deflate_has_one_member() -> None:
    with pytest.raises(InvalidRequest, match="not valid deflate"):
        decoded("deflate", zlib.compress(TEXT) * 2)


def test_members_are_bounded_in_number_and_in_all() -> None:
    member = gzip.compress(b"")
    assert decoded("gzip", member * 1024, 100_000) == b""
    with pytest.raises(InvalidRequest, match="not valid gzip"):
        decoded("gzip", member * 1025, 100_000)
    with pytest.raises(PayloadTooLarge, match="2000 bytes"):
        decoded("gzip", gzip.compress(b"a" * 1001) * 2)


def test_the_limit_counts_decoded_bytes() -> None:
    assert decoded("gzip", gzip.compress(b"a" * 2000)) == b"a" * 2000
    with pytest.raises(PayloadTooLarge, match="2000 bytes"):
        decoded("gzip", gzip.compress(b"a" * 2001))


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000)
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            decoded("gzip", bomb, size=100_000, max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_body_of_tiny_parts_takes_few_blocks() -> None:
    """Each block may be longer by one part than its size."""
    decoder = BodyDecoder("", 3 * 2**20)
    for part in (b"ab", b"c" * 7) * 250_000:
        decoder.add(part)
    assert decoder.length == 250_000 * 9
    assert len(decoder._blocks) == 3
    assert max(map(len, decoder._blocks)) < 2**20 + 7
    assert decoder.finish() == (b"ab" + b"c" * 7) * 250_000
