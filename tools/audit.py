"""Look up the locked packages in OSV's database of known faults (`make audit`).

Ends with 1 if a package has a known fault. If the database cannot be reached, nothing was checked:
that is said in one line, and ends with 0, or with 1 under --strict.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "uv", "audit", "--frozen", "--preview-features", "audit-command"]
FOUND = 1  # uv's exit status when a package has a known fault
_UNREACHABLE = re.compile(r"Request failed|error sending request|requires network access")


def audit(command: list[str], is_strict: bool) -> int:
    """Run uv's audit and return the exit status; print its findings, or why there are none."""
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if run.returncode in (0, FOUND):
        print(run.stdout + run.stderr, end="")
        return run.returncode
    if _UNREACHABLE.search(run.stderr):
        print("audit: NOT DONE: the database of known faults (OSV) cannot be reached from here")
        return int(is_strict)
    print(run.stderr, end="", file=sys.stderr)
    return run.returncode


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail if the database is unreachable")
    raise SystemExit(audit(COMMAND, parser.parse_args().strict))


if __name__ == "__main__":
    main()
