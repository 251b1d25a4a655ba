"""Notices of a cloud that it will take a virtual machine away, from its metadata service."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import httpx

_TIMEOUT_S = 2.0
_TOKEN_LIFETIME_S = 21_600  # the longest that IMDSv2 grants
_NOT_FOUND = 404
_UNAUTHORIZED = 401


class MetadataError(Exception):
    """The metadata service does not answer as documented. The message names the path."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Announcement of the end of this machine: its reason, and the seconds that are left."""

    reason: str
    deadline_s: float


class CloudNotices(Protocol):
    """Source of notices."""

    def read(self) -> Notice | None:
        """Return the most urgent notice; None: the machine stays. Raises MetadataError."""
        ...


class AwsNotices:
    """Notices of EC2: of spot instances, and recommendations to leave one (IMDSv2).

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html,
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
    """

    url = "http://169.254.169.254"

    def __init__(
        self, rebalance_s: float, url: str = url, now: Callable[[], datetime] | None = None
    ) -> None:
        """rebalance_s: seconds to leave the machine after a recommendation, which names no time."""
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False)
        self._rebalance_s = rebalance_s
        self._now = now or (lambda: datetime.now(UTC))
        self._token = ""

    def read(self) -> Notice | None:
        action = self._event("spot/instance-action")
        if action is not None:
            ends_at = datetime.fromisoformat(str(action["time"]))
            left_s = max(0.0, (ends_at - self._now()).total_seconds())
            return Notice(f"AWS will {action['action']} this spot instance", left_s)
        if self._event("events/recommendations/rebalance") is not None:
            return Notice("AWS recommends to leave this spot instance", self._rebalance_s)
        return None

    def _event(self, path: str) -> Mapping[str, object] | None:
        """Read an event; None where there is none, which is 404."""
        path = f"/latest/meta-data/{path}"
        answer = self._get(path)
        if answer.status_code == _UNAUTHORIZED:  # the token has expired
            self._token = ""
            answer = self._get(path)
        if answer.status_code == _NOT_FOUND:
            return None
        try:
            event: dict[str, object] = answer.raise_for_status().json()
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise MetadataError(f"{path}: {error}") from error
        return event

    def _get(self, path: str) -> httpx.Response:
        try:
            self._token = self._token or self._new_token()
            return self._client.get(path, headers={"X-aws-ec2-metadata-token": self._token})
        except httpx.HTTPError as error:
            raise MetadataError(f"{path}: {error}") from error

    def _new_token(self) -> str:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_LIFETIME_S)}
        answer = self._client.put("/latest/api/token", headers=lifetime)
        return answer.raise_for_status().text


class GcpNotices:
    """Notices of Compute Engine: of the end of a spot VM, and of maintenance that ends a VM with a GPU.

    https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption,
    https://cloud.google.com/compute/docs/gpus/gpu-host-maintenance
    """

    url = "http://metadata.google.internal"
    _spot_s = 30.0
    _maintenance_s = 3600.0

    def __init__(self, url: str = url) -> None:
        headers = {"Metadata-Flavor": "Google"}
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )

    def read(self) -> Notice | None:
        if self._value("preempted") == "TRUE":
            return Notice("Google Cloud preempts this spot VM", self._spot_s)
        if self._value("maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE":
            return Notice("Google Cloud maintains this VM's host", self._maintenance_s)
        return None

    def _value(self, name: str) -> str:
        path = f"/computeMetadata/v1/instance/{name}"
        try:
            return self._client.get(path).raise_for_status().text.strip()
        except httpx.HTTPError as error:
            raise MetadataError(f"{path}: {error}") from error
