"""Content encodings of request bodies (RFC 9110, section 8.4)."""

import zlib

from serve_app.errors import InvalidRequest, PayloadTooLarge, UnsupportedEncoding

# zlib's window bits, by the names of the encodings.
_WINDOW_BITS = {
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
}
ACCEPTED = "gzip, deflate"


class BodyDecoder:
    """Decodes a body part by part; never holds more than `max_bytes` of what it decodes.

    encoding: value of `Content-Encoding`. Raises UnsupportedEncoding.
    """

    def __init__(self, encoding: str, max_bytes: int) -> None:
        name = encoding.strip().lower()
        if name not in {"", "identity", *_WINDOW_BITS}:
            raise UnsupportedEncoding(
                f"Content-Encoding '{name}' is not supported: use {ACCEPTED}, or send the body as "
                "it is"
            )
        self._name = name
        self._max_bytes = max_bytes
        bits = _WINDOW_BITS.get(name)
        self._inflater = None if bits is None else zlib.decompressobj(bits)
        self._content = bytearray()

    def add(self, part: bytes) -> None:
        """Decode the next part. Raises PayloadTooLarge and InvalidRequest."""
        inflater = self._inflater
        self._content += part if inflater is None else self._inflated(inflater, part)
        if len(self._content) > self._max_bytes:
            raise PayloadTooLarge(f"The request's body must be at most {self._max_bytes} bytes")

    def finish(self) -> bytes:
        """Return the whole body. Raises InvalidRequest for one that was cut off."""
        if self._inflater is not None and not self._inflater.eof:
            raise self._broken()
        return bytes(self._content)

    def _inflated(self, inflater: "zlib._Decompress", part: bytes) -> bytes:
        """Decompress until one byte beyond the limit: a bomb costs no more memory than that."""
        try:
            content = inflater.decompress(part, self._max_bytes + 1 - len(self._content))
        except zlib.error as error:
            raise self._broken() from error
        if inflater.unused_data:
            raise self._broken()
        return content

    def _broken(self) -> InvalidRequest:
        return InvalidRequest(
            f"The request's body is not valid {self._name}, although Content-Encoding says so"
        )
