"""The settings of Ray Serve that cluster/kuberay/rayservice.yaml gives each node, for tests and benchmarks."""

from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).parent.parent / "cluster" / "kuberay" / "rayservice.yaml"
_PREFIX = "RAY_SERVE_"


def serve_settings(manifest: Path = MANIFEST) -> dict[str, str]:
    """Read the environment variables of Serve from the manifest's head, which its workers share."""
    cluster: dict[str, Any] = yaml.safe_load(manifest.read_text())["spec"]["rayClusterConfig"]
    [head] = [
        container
        for container in cluster["headGroupSpec"]["template"]["spec"]["containers"]
        if container["name"] == "ray-head"
    ]
    return {
        variable["name"]: variable["value"]
        for variable in head["env"]
        if variable["name"].startswith(_PREFIX)
    }
