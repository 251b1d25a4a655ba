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
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_s(value) == pytest.approx(59.5, abs=1.5)
