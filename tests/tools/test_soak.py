"""The soak test over the running service, briefly: careless callers leave nothing behind."""

import pytest

from serve_app.launcher import Service
from tools import soak

pytestmark = pytest.mark.long


async def test_careless_callers_leave_nothing_behind(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    report = await soak.soak(service, minutes=0.5)
    with capsys.disabled():
        soak.show(report)
    assert not report.wrong
    assert not report.leaked
    assert len(report.calls) == 9, "each kind of caller has called"
