"""The benchmark of jobs counts what was lost, and what was made twice."""

from pathlib import Path
from typing import Any

from benchmarks.job_service import count_files, losses
from benchmarks.job_store import measure
from benchmarks.jobs import address_of

ACCEPTED = [(0.01, "a"), (0.02, "b"), (0.02, "c")]


def job(job_id: str, seed: int, status: str = "succeeded", attempt: int = 1) -> dict[str, Any]:
    return {"id": job_id, "request": {"seed": seed}, "status": status, "attempt": attempt}


def test_all_jobs_ended_once() -> None:
    jobs = [job("a", 0), job("b", 1), job("c", 2)]
    assert losses(ACCEPTED, jobs, 3) == {"succeeded": 3, "lost": 0, "doubled": 0}


def test_losses_are_counted() -> None:
    jobs = [job("a", 0), job("b", 1, "failed")]
    assert losses(ACCEPTED, jobs, 2) == {"succeeded": 1, "lost": 1, "doubled": 0}


def test_what_was_made_twice_is_counted() -> None:
    jobs = [job("a", 0), job("b", 1, attempt=2), job("c", 1), job("c", 2)]
    assert losses(ACCEPTED, jobs, 4)["doubled"] == 1 + 1 + 1 + 1


def test_files_of_the_warm_up_do_not_count(tmp_path: Path) -> None:
    for name in ("a/1/0.wav", "a/2/0.wav", "warm/1/0.wav", "a/1/0.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert count_files(tmp_path, {"warm"}) == 2


async def test_a_store_alone(tmp_path: Path) -> None:
    with address_of("sqlite", tmp_path) as address:
        row = await measure(address, 32, 4)
    assert min(row.values()) > 0
