"""Write a Serve configuration into the KubeRay manifest, so that both have one source.

python -m tools.kuberay configs/all.yaml cluster/kuberay/rayservice.yaml    # `make manifest`
"""

import argparse
import re
from pathlib import Path

START = "  serveConfigV2: |\n"
END = "  rayClusterConfig:\n"
INDENT = "    "
_PORT = re.compile(r"^  port: 8000\b", re.MULTILINE)
_HOST = re.compile(r"^  host: 127\.0\.0\.1( *)#.*$", re.MULTILINE)
_NOTE = "the pods' HAProxy reaches the ingress replicas; network-policy.yaml keeps clients out"


def behind_edge(config: str) -> str:
    """Move Serve's HAProxy to port 8001: the edge of each pod has 8000, which KubeRay's probes use.

    Serve's host is also that of the ingress replicas, which it reaches from every pod.
    """
    opened = _HOST.sub(rf"  host: 0.0.0.0  \1# {_NOTE}", config)
    return _PORT.sub("  port: 8001", opened)


def with_config(manifest: str, config: str) -> str:
    """Return `manifest` with `config` between START and END. Raises ValueError without them."""
    before, start, rest = manifest.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the manifest needs the lines {START.strip()!r} and {END.strip()!r}")
    block = "".join(
        INDENT + line if line.strip() else line
        for line in behind_edge(config).splitlines(keepends=True)
    )
    return before + start + block + end + after


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.kuberay",
        description="Write a Serve configuration into the KubeRay manifest.",
    )
    parser.add_argument("config", type=Path, help="the Serve configuration to read")
    parser.add_argument("manifest", type=Path, help="the RayService manifest to rewrite")
    arguments = parser.parse_args()
    try:
        content = with_config(arguments.manifest.read_text(), arguments.config.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{arguments.manifest}: {error}") from error
    arguments.manifest.write_text(content)
    print(f"Wrote {arguments.config} into {arguments.manifest}")


if __name__ == "__main__":
    main()
