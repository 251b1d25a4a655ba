"""Durable jobs: acceptance, losses, memory, and interactive tracks beside them, through the service.

python -m benchmarks.jobs [--jobs 5000] [--store sqlite] [--store postgresql] [--kubernetes] [--alone]

Each `--store` is measured by itself: `sqlite` (the default) is a new file below the current folder,
`postgresql` a server of its own with Debian's programs, and anything else the address of an empty
store, whose password belongs into PGPASSWORD: the command is printed. With `--kubernetes` Serve has
the settings of cluster/kuberay. With `--alone` the store is measured without the service: jobs are
accepted, then claimed, heard of and ended. The last line is JSON.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import job_service, job_store
from benchmarks.by_settings import SETTINGS, environment
from benchmarks.job_service import Plan
from benchmarks.report import print_result, print_table, summary
from tools.postgres import postgres_server

CALLERS = {"store": 16, "service": 4}  # at a time
Row = dict[str, float]


@contextmanager
def address_of(store: str, folder: Path) -> Iterator[str]:
    """Make an empty store of a kind that needs no address."""
    if store == "postgresql":
        with postgres_server() as server:
            yield server.url(server.new_database())
    elif store == "sqlite":
        yield f"sqlite:///{folder.absolute() / 'jobs.db'}"
    else:
        yield store


def measure(store: str, arguments: argparse.Namespace) -> Row:
    """Measure one store, alone or through the service."""
    with tempfile.TemporaryDirectory(dir=".", prefix="jobs-") as name:
        folder = Path(name)
        with address_of(store, folder) as address:
            if arguments.alone:
                callers = arguments.callers or CALLERS["store"]
                return asyncio.run(job_store.measure(address, arguments.jobs, callers))
            callers = arguments.callers or CALLERS["service"]
            plan = Plan(arguments.jobs, callers, arguments.tracks)
            with environment(SETTINGS["Kubernetes'" if arguments.kubernetes else "Serve's own"]):
                return job_service.measure(address, folder, plan)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=summary(__doc__))
    parser.add_argument("--jobs", type=int, default=5000, help="default: 5000")
    parser.add_argument("--callers", type=int, help="at a time (default: 4; alone: 16)")
    parser.add_argument(
        "--tracks", type=int, default=50, help="of each interactive round (default: 50)"
    )
    parser.add_argument(
        "--store", action="append", help="sqlite, postgresql, or an address; repeatable"
    )
    parser.add_argument(
        "--kubernetes", action="store_true", help="Serve's settings of cluster/kuberay"
    )
    parser.add_argument("--alone", action="store_true", help="the store without the service")
    arguments = parser.parse_args()
    stores = arguments.store or ["sqlite"]
    rows = {store.partition(":")[0]: measure(store, arguments) for store in stores}
    print_table(rows)
    print_result("jobs", kubernetes=arguments.kubernetes, rows=rows)


if __name__ == "__main__":
    main()
