"""`Retry-After` is seconds or a date."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from serve_app.client.problems import retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("12", 12.0), (" 0 ", 0.0), ("", None), ("-1", None), ("1.5", None), ("soon", None), ("²", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0)],
)  # fmt: skip
def test_values(value: str, seconds: float | None) -> None:
    assert retry_after_s(value) == seconds


def test_a_date() -> None:
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)
    most_s = (due - datetime.now(UTC)).total_seconds()
    found_s = retry_after_s(format_datetime(due, usegmt=True))
    least_s = (due - datetime.now(UTC)).total_seconds()
    assert found_s is not None
    assert max(0.0, least_s) <= found_s <= max(0.0, most_s)
