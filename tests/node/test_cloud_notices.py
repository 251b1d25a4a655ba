"""Notices are read from a local stand-in for the clouds' metadata services."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from serve_app.node import cloud_notices
from serve_app.node.cloud_notices import AwsNotices, GcpNotices, MetadataError, Notice
from tests.node.metadata_service import MetadataService, metadata_service

SPOT = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
GCP = "/computeMetadata/v1/instance/"
NOW = datetime(2026, 5, 18, 8, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in shares its cores with other tests."""
    monkeypatch.setattr(cloud_notices, "_TIMEOUT_S", 60.0)


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with metadata_service() as service:
        yield service


def aws(service: MetadataService) -> AwsNotices:
    return AwsNotices(780, service.url, lambda: NOW)


def test_a_machine_that_stays_has_no_notice(service: MetadataService) -> None:
    service.values = {GCP + "preempted": "FALSE", GCP + "maintenance-event": "NONE"}
    assert aws(service).read() is None
    assert GcpNotices(service.url).read() is None


def test_aws_tells_the_time_of_a_spot_instances_end(service: MetadataService) -> None:
    service.values[SPOT] = json.dumps({"action": "terminate", "time": "2026-05-18T08:22:00Z"})
    service.values[REBALANCE] = json.dumps({"noticeTime": "2026-05-18T08:10:00Z"})
    assert aws(service).read() == Notice("AWS will terminate this spot instance", 120)
    service.values[SPOT] = json.dumps({"action": "stop", "time": "2026-05-18T08:19:00Z"})
    assert aws(service).read() == Notice("AWS will stop this spot instance", 0)


def test_aws_recommends_to_leave(service: MetadataService) -> None:
    service.values[REBALANCE] = json.dumps({"noticeTime": "2026-05-18T08:10:00Z"})
    assert aws(service).read() == Notice("AWS recommends to leave this spot instance", 780)


def test_a_token_that_has_expired_is_replaced(service: MetadataService) -> None:
    notices = aws(service)
    assert notices.read() is None
    service.tokens = {"another"}
    service.values[SPOT] = json.dumps({"action": "terminate", "time": "2026-05-18T08:22:00Z"})
    assert notices.read() is not None


def test_google_cloud_preempts_and_maintains(service: MetadataService) -> None:
    service.values = {GCP + "preempted": "FALSE\n"}
    service.values[GCP + "maintenance-event"] = "TERMINATE_ON_HOST_MAINTENANCE"
    notices = GcpNotices(service.url)
    assert notices.read() == Notice("Google Cloud maintains this VM's host", 3600)
    service.values[GCP + "preempted"] = "TRUE"
    assert notices.read() == Notice("Google Cloud preempts this spot VM", 30)


def test_a_service_that_fails_is_no_notice(service: MetadataService) -> None:
    service.fails = True
    with pytest.raises(MetadataError, match="spot/instance-action"):
        aws(service).read()
    with pytest.raises(MetadataError, match="instance/preempted"):
        GcpNotices(service.url).read()
    service.fails = False
    service.values[SPOT] = "no JSON"
    with pytest.raises(MetadataError, match="spot/instance-action"):
        aws(service).read()


def test_a_machine_outside_the_cloud_has_no_metadata_service() -> None:
    with metadata_service() as gone:
        url = gone.url
    with pytest.raises(MetadataError, match="spot/instance-action"):
        AwsNotices(780, url).read()
