"""State of the application and of the cluster, from the HTTP API of Ray's dashboard."""

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

_TIMEOUT_S = 5.0


class RayDashboard:
    """Reader of a dashboard. Each method returns an empty result while that is unavailable, or ends.

    headers: carry Ray's token.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.url = url
        self._headers = dict(headers)

    def application(self) -> dict[str, Any]:
        """Read the state of the only application: its status, message and deployments."""
        applications = self._get("/api/serve/applications/", "applications")
        return next(iter(applications.values()), {})

    def nodes(self) -> list[dict[str, float]]:
        """Read the total resources of each living node."""
        result = self._get(
            "/api/v0/nodes?detail=1&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE",
            "data",
        )
        rows: list[dict[str, Any]] = result.get("result", {}).get("result", [])
        return [row["resources_total"] for row in rows]

    def _get(self, path: str, key: str) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}{path}", headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                value: dict[str, Any] = json.load(answer)[key]
        except (OSError, HTTPException, ValueError, KeyError):
            return {}
        return value
