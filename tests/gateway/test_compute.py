"""The charge of a request: its duration, and more for windows that overlap more than usual."""

import pytest

from serve_app.gateway.compute import charged_s
from serve_app.types import GenerationRequest


@pytest.mark.parametrize(
    ("duration_s", "stride_s", "charge_s"),
    [
        (30, None, 30), (30, 1, 30), (120, None, 120), (120, 18, 120), (120, 25, 120),
        (120, 1, 222), (60, 6, 63.84),
    ],
)  # fmt: skip
def test_charges(duration_s: float, stride_s: float | None, charge_s: float) -> None:
    request = GenerationRequest(
        request_id="a", model="m", prompt="a", duration_s=duration_s, extend_stride_s=stride_s
    )
    assert charged_s(request) == pytest.approx(charge_s)
