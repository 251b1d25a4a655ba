"""Byte ranges."""

import pytest

from serve_app.api.byte_range import ByteRange, parse_range
from serve_app.api.errors import RangeNotSatisfiable


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-1", range(2)),
        ("bytes=0-", range(100)),
        ("Bytes = 10 - 19", range(10, 20)),
        ("bytes=90-500", range(90, 100)),
        ("bytes=99-", range(99, 100)),
        ("bytes=0-999999999999999999999", range(100)),
        (f"bytes={'0' * 5000}1-{'9' * 5000}", range(1, 100)),
        (f"bytes=-{'9' * 30}", range(100)),
        ("bytes=-5", range(95, 100)),
        ("bytes=-500", range(100)),
    ],
)
def test_ranges_of_a_file(header: str, expected: range) -> None:
    wanted = parse_range(header)
    assert wanted is not None
    assert wanted.within(100) == expected


@pytest.mark.parametrize(
    "header",
    [
        None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=a-b",
        "bytes=1e3-", f"bytes=9{'9' * 40}-8{'9' * 40}", f"bytes={' ' * 20_000}", "bytes=\u0661-\u0662",
    ],
)  # fmt: skip
def test_other_headers_are_ignored(header: str | None) -> None:
    assert parse_range(header) is None


@pytest.mark.parametrize(
    "header",
    ["bytes=100-", "bytes=100-200", "bytes=-0", f"bytes={'9' * 30}-", f"bytes={'9' * 5000}-"],
)
def test_ranges_beyond_the_end_are_refused(header: str) -> None:
    wanted = parse_range(header)
    assert wanted is not None
    with pytest.raises(RangeNotSatisfiable, match="100 bytes"):
        wanted.within(100)


def test_the_whole_file_is_one_range() -> None:
    assert ByteRange(0, None).is_whole
    assert not ByteRange(0, 1).is_whole
    assert not ByteRange(None, 0).is_whole
