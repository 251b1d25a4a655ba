"""Expiry is told 30 days ahead, and a renewed certificate is taken over without a restart."""

import asyncio
import logging
from pathlib import Path

import pytest

from serve_app.gateway import certificate_watch
from serve_app.gateway.certificate_watch import CertificateWatch
from serve_app.gateway.marking import Marking
from serve_app.provenance.self_signed import make_pair
from tests.credentials import expired_pair, pair, stored
from tests.fakes import Clock, RecordingObserver
from tests.gateway.streams import PATIENCE_S


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(certificate_watch, "monotonic", clock)
    return clock


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.levelno == logging.WARNING]


def test_a_certificate_of_less_than_30_days_is_a_warning_a_day(
    tmp_path: Path, observer: RecordingObserver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    marking = Marking.of(stored(tmp_path, make_pair("es256", "tests", 29)), observer, {})
    watch = CertificateWatch(marking, observer)
    for _ in range(3):
        watch.look()
        clock.now += 3600
    assert len(observer.days_left) == 3
    assert observer.days_left[0] == pytest.approx(29, abs=0.1)
    [warning] = warnings(caplog)
    assert "expires in 29.0 days" in warning
    clock.now += 86_400
    watch.look()
    assert len(warnings(caplog)) == 2


def test_a_long_valid_certificate_is_no_warning(
    tmp_path: Path, observer: RecordingObserver, caplog: pytest.LogCaptureFixture
) -> None:
    CertificateWatch(Marking.of(stored(tmp_path), observer, {}), observer).look()
    assert observer.days_left == [pytest.approx(365, abs=0.1)]
    assert warnings(caplog) == []


def test_renewed_files_are_taken_over(
    tmp_path: Path, observer: RecordingObserver, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that cannot sign leave the last pair in force."""
    marking = Marking.of(stored(tmp_path, make_pair("es256", "tests", 20)), observer, {})
    watch = CertificateWatch(marking, observer)
    old = marking.signer
    stored(tmp_path, expired_pair())
    watch.renew()
    assert marking.signer is old
    assert "stays in force" in caplog.text
    stored(tmp_path, pair())
    watch.renew()
    assert marking.signer is not None
    assert marking.signer.credentials.chain == pair().chain


async def test_it_looks_until_it_is_cancelled(tmp_path: Path) -> None:
    looked = asyncio.Event()

    class Observer(RecordingObserver):
        def certificate_checked(self, days_left: float) -> None:
            super().certificate_checked(days_left)
            looked.set()

    marking = Marking.of(stored(tmp_path), Observer(), {})
    watching = asyncio.create_task(CertificateWatch(marking, Observer()).run())
    await asyncio.wait_for(looked.wait(), PATIENCE_S)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_emptied_files_do_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: asyncio.Queue[float] = asyncio.Queue()

    class Observer(RecordingObserver):
        def certificate_checked(self, days_left: float) -> None:
            looks.put_nowait(days_left)

    observer = Observer()
    marking = Marking.of(stored(tmp_path, make_pair("es256", "tests", 20)), observer, {})
    (tmp_path / "certificate.pem").write_bytes(b"")
    (tmp_path / "private_key.pem").write_bytes(b"")
    monkeypatch.setattr(certificate_watch, "_PERIOD_S", 0.01)
    watching = asyncio.create_task(CertificateWatch(marking, observer).run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await looks.get() == pytest.approx(20, abs=0.1)
            assert "stays in force" in caplog.text
            stored(tmp_path, pair())
            while await looks.get() < 30:
                pass
    finally:
        watching.cancel()


async def test_a_service_that_signs_nothing_watches_nothing(observer: RecordingObserver) -> None:
    watch = CertificateWatch(Marking(), observer)
    await watch.run()
    watch.look()
    assert observer.days_left == []
