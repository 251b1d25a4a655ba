"""Writes a Serve configuration into KubeRay's manifest, so that one file is the source of both.

python -m tools.kuberay configs/all.yaml cluster/kuberay/rayservice.yaml
"""

import argparse
from pathlib import Path

START, END = "  serveConfigV2: |\n", "  rayClusterConfig:\n"
INDENT = "    "


def with_config(manifest: str, config: str) -> str:
    """The manifest with this configuration in it. Raises ValueError where it has no place for one."""
    before, start, rest = manifest.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the manifest needs the lines {START.strip()!r} and {END.strip()!r}")
    block = "".join(
        INDENT + line if line.strip() else line for line in config.splitlines(keepends=True)
    )
    return before + start + block + end + after


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.kuberay",
        description="Write a Serve configuration into KubeRay's manifest.",
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("manifest", type=Path)
    arguments = parser.parse_args()
    try:
        content = with_config(arguments.manifest.read_text(), arguments.config.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{arguments.manifest}: {error}") from error
    arguments.manifest.write_text(content)
    print(f"{arguments.manifest} has {arguments.config}")


if __name__ == "__main__":
    main()
