"""Byte ranges of files (RFC 9110, section 14)."""

import re
from dataclasses import dataclass

from serve_app.api.errors import RangeNotSatisfiable

_MOST_DIGITS = 4000  # Python converts at most 4300
_ONE_RANGE = re.compile(r"bytes\s*+=\s*+(\d*+)\s*+-\s*+(\d*+)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Range of a file as a client names it.

    first: position of its first byte; None: the last `last` bytes; last: position of its last byte;
    None: to the end.
    """

    first: int | None
    last: int | None

    @property
    def is_whole(self) -> bool:
        """Whether the range is the whole file, whatever the file's length."""
        return self.first == 0 and self.last is None

    def within(self, total: int) -> range:
        """Return the positions of the range in a file of `total` bytes.

        Raises RangeNotSatisfiable if there are none.
        """
        if self.first is None:
            start = max(0, total - (self.last or 0))
            positions = range(start, total)
        else:
            stop = total if self.last is None else min(total, self.last + 1)
            positions = range(self.first, stop)
        if not positions:
            raise RangeNotSatisfiable(f"The file has {total} bytes: ask for some of them")
        return positions


def parse_range(header: str | None) -> ByteRange | None:
    """Parse a `Range` header; None: there is no single range of bytes, and the header is ignored.

    Several ranges in one request are ignored, too, as RFC 9110 permits.
    """
    found = _ONE_RANGE.fullmatch((header or "").strip())
    if found is None or found[1] == found[2] == "":
        return None
    first = _position(found[1])
    last = _position(found[2])
    if first is not None and last is not None and last < first:
        return None
    return ByteRange(first, last)


def _position(digits: str) -> int | None:
    """Convert a position, which may have any number of digits; None without digits."""
    if not digits:
        return None
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= _MOST_DIGITS else 10**_MOST_DIGITS
