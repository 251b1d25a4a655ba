"""Content encodings of request bodies (RFC 9110, section 8.4)."""

import zlib

from serve_app.api.errors import UnsupportedEncoding
from serve_app.errors import InvalidRequest, PayloadTooLarge

_GZIP_BITS = 16 + zlib.MAX_WBITS
# zlib's window bits, by the names of the encodings.
_WINDOW_BITS = {"gzip": _GZIP_BITS, "x-gzip": _GZIP_BITS, "deflate": zlib.MAX_WBITS}
_MOST_MEMBERS = 1024  # of a gzip file; writers in parallel begin one each 64 KiB or more
_SLICE_BYTES = 65_536  # decompressed at once: bounds what a change of members copies
# A body is kept in blocks: one array that grows is copied again and again, and leaves holes in the heap.
_BLOCK_BYTES = 2**20
ACCEPTED = "gzip, deflate"


class BodyDecoder:
    """Decodes a body part by part; never holds more than `max_bytes` of what it decodes.

    encoding: value of `Content-Encoding`; gzip may have several members (RFC 1952, section 2.2).
    Raises UnsupportedEncoding.
    """

    def __init__(self, encoding: str, max_bytes: int) -> None:
        name = _applied(encoding)
        if name not in {"", *_WINDOW_BITS}:
            raise UnsupportedEncoding(
                f"Content-Encoding '{name}' is not supported: use {ACCEPTED}, or send the body as "
                "it is"
            )
        self._name = name
        self._max_bytes = max_bytes
        self._bits = _WINDOW_BITS.get(name)
        self._inflater = None if self._bits is None else zlib.decompressobj(self._bits)
        self._members = 1
        self._blocks = [bytearray()]
        self.length = 0  # decoded bytes so far

    def add(self, part: bytes) -> None:
        """Decode the next part. Raises PayloadTooLarge and InvalidRequest."""
        if self._inflater is None:
            self._keep(part)
            return
        for start in range(0, len(part), _SLICE_BYTES):
            rest = part[start : start + _SLICE_BYTES]
            while rest:
                rest = self._inflate(self._open_member(self._inflater), rest)

    def finish(self) -> bytes:
        """Return the whole body. Raises InvalidRequest for one that was cut off."""
        if self._inflater is not None and not self._inflater.eof:
            raise self._broken()
        return b"".join(self._blocks)

    def _open_member(self, inflater: "zlib._Decompress") -> "zlib._Decompress":
        """Return the inflater of the next bytes: a new one after the end of a gzip member."""
        if not inflater.eof:
            return inflater
        if self._bits != _GZIP_BITS or self._members == _MOST_MEMBERS:
            raise self._broken()
        self._members += 1
        self._inflater = zlib.decompressobj(_GZIP_BITS)
        return self._inflater

    def _inflate(self, inflater: "zlib._Decompress", part: bytes) -> bytes:
        """Decompress one member, and return what follows it.

        Stop one byte beyond the limit: a bomb costs no more memory than that.
        """
        try:
            self._keep(inflater.decompress(part, self._max_bytes + 1 - self.length))
        except zlib.error as error:
            raise self._broken() from error
        return inflater.unused_data

    def _keep(self, content: bytes) -> None:
        self.length += len(content)
        if self.length > self._max_bytes:
            raise PayloadTooLarge(f"The request's body must be at most {self._max_bytes} bytes")
        if len(self._blocks[-1]) >= _BLOCK_BYTES:
            self._blocks.append(bytearray())
        self._blocks[-1] += content

    def _broken(self) -> InvalidRequest:
        return InvalidRequest(
            f"The request's body is not valid {self._name}, although Content-Encoding says so"
        )


def _applied(encoding: str) -> str:
    """Return the encodings without `identity`, which changes nothing, and without empty ones."""
    names = [name.strip().lower() for name in encoding.split(",")]
    return ", ".join(name for name in names if name not in ("", "identity"))
