"""The logs that Serve's replicas write, one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve_app.launcher import Service
from tests.processes import raylet_option


def logged(service: Service, request_id: str) -> Iterator[dict[str, Any]]:
    """Fields of each line with this id."""
    folder = Path(raylet_option(service.processes(), "--log_dir="))
    for file in (folder / "serve").glob("replica_*.log"):
        for line in file.read_text().splitlines():
            if request_id not in line:
                continue  # Serve may log its own start before it logs JSON
            entry = json.loads(line)
            if entry.get("request_id") == request_id:
                yield entry
