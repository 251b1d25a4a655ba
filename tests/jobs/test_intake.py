"""Values that cannot be stored, or answered, as JSON."""

from typing import Any

import pytest

from serve_app.errors import InvalidRequest
from serve_app.jobs.intake import check_storable


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_must_be_finite(value: float) -> None:
    nested: dict[str, Any] = {"a": [1.5, {"b": value}]}
    with pytest.raises(InvalidRequest, match="input must hold finite numbers"):
        check_storable("input", nested)
    check_storable("input", {"a": [1.5, {"b": 10**400}]})
