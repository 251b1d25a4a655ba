"""The commands of docs/jobs.md for backup and restore, run on stores in use."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from serve_app.errors import Unauthorized
from serve_app.jobs.errors import JobNotFound
from serve_app.jobs.job import Job, JobStatus, Webhook
from tests.jobs.rooms import CONTENT, JobRoom, job_room, submission
from tests.jobs.stores import LEASE_S, MOST
from tests.postgres import PostgresServer, needed
from tests.sources import ROOT

HOOK = Webhook(url="https://hook.example/a")


def commands(database: str) -> list[str]:
    """The two blocks of a database: of the backup, and of its restoration."""
    page = (ROOT / "docs" / "jobs.md").read_text().split("\n### Backup and restore\n")[1]
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    return blocks[:2] if database == "sqlite" else blocks[2:]


def run(block: str, folder: Path, address: str) -> None:
    environment = {**os.environ, "ADDRESS": address, "RESULTS": str(folder / "results")}
    command = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Kind and address of a store."""
    if request.param == "sqlite":
        needed("sqlite3", "sqlite3")
        return "sqlite", f"sqlite:///{tmp_path / 'jobs.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return "postgres", server.url(server.new_database())


def is_private(folder: Path) -> bool:
    """Whether the copy of the store is for its owner alone."""
    [copy] = [file for file in folder.iterdir() if file.name in ("jobs-backup.db", "jobs.dump")]
    return copy.stat().st_mode & 0o077 == 0


async def ended(room: JobRoom, prompt: str) -> tuple[Job, str]:
    """A job with a file, and the token of its link."""
    await room.service.submit(submission(prompt, priority=10, webhook=HOOK))
    job = await room.succeed(await room.claim(), CONTENT + prompt.encode())
    address = room.service.links.audio(job, 0) or ""
    return job, address.partition("?token=")[2]


async def content_of(room: JobRoom, job: Job, token: str) -> bytes:
    """The audio of a job, by its signed link."""
    file = await room.service.linked_file(job.id, 0, token)
    return b"".join([block async for block in room.service.results.read(file.key)])


async def test_the_documented_commands_bring_jobs_and_audio_back(
    database: tuple[str, str], tmp_path: Path
) -> None:
    kind, address = database
    back_up, restore = commands(kind)
    async with job_room(tmp_path, store=address) as room:
        made, token = await ended(room, "made before")
        queued, _ = await room.service.submit(submission("queued"))
        run(back_up, tmp_path, address)
        assert is_private(tmp_path), "it holds prompts and secrets"
        await room.service.delete("", made.id)
        late, _ = await ended(room, "late")
    run(restore, tmp_path, address)
    async with job_room(tmp_path, store=address) as room:
        assert (await room.service.get("", made.id)).status is JobStatus.SUCCEEDED
        assert await content_of(room, made, token) == CONTENT + b"made before"
        assert (await room.service.get("", queued.id)).request == queued.request
        assert (await room.claim()).job.id == queued.id, "the queue goes on"
        [message] = await room.store.claim_deliveries(MOST, LEASE_S)
        assert message.job_id == made.id
        with pytest.raises(JobNotFound):
            await room.service.get("", late.id)
        with pytest.raises(Unauthorized):
            await room.service.linked_file(queued.id, 0, token)
