"""Files of jobs in ranges, and events of jobs that can be resumed."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from serve_app.jobs.job import Job
from tests.api.routes.test_jobs import submit
from tests.jobs.rooms import CONTENT, JobRoom


async def finished(client: httpx.AsyncClient, room: JobRoom) -> str:
    """Address of a job with two files."""
    job = await submit(client, n=2)
    await room.succeed(await room.claim())
    return f"/v1/jobs/{job['id']}"


@pytest.mark.parametrize(
    ("header", "status", "content", "content_range"),
    [
        (None, 200, CONTENT, None),
        ("bytes=0-", 206, CONTENT, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"),
        ("bytes=4-7", 206, CONTENT[4:8], f"bytes 4-7/{len(CONTENT)}"),
        ("bytes=-5", 206, CONTENT[-5:], f"bytes {len(CONTENT) - 5}-{len(CONTENT) - 1}/{len(CONTENT)}"),
        ("bytes=7-4", 200, CONTENT, None),
        ("bytes=0-1,4-5", 200, CONTENT, None),
        ("lines=1-2", 200, CONTENT, None),
    ],
)  # fmt: skip
async def test_files_are_sent_whole_or_in_ranges(
    jobs_client: httpx.AsyncClient,
    room: JobRoom,
    header: str | None,
    status: int,
    content: bytes,
    content_range: str | None,
) -> None:
    url = await finished(jobs_client, room)
    headers = {} if header is None else {"range": header}
    response = await jobs_client.get(f"{url}/audio/1", headers=headers)
    assert (response.status_code, response.content) == (status, content)
    assert response.headers.get("content-range") == content_range
    assert response.headers["content-length"] == str(len(content))
    assert response.headers["content-type"] == "audio/wav"
    assert response.headers["accept-ranges"] == "bytes"
    head = await jobs_client.head(f"{url}/audio/1", headers=headers)
    assert (head.status_code, head.content) == (200, b""), "a range is of GET alone"
    assert head.headers["content-length"] == str(len(CONTENT))
    assert head.headers["accept-ranges"] == "bytes"
    assert "content-range" not in head.headers


async def test_a_range_beyond_the_end_cannot_be_sent(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    url = await finished(jobs_client, room)
    response = await jobs_client.get(f"{url}/audio", headers={"range": "bytes=999999-"})
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"
    head = await jobs_client.head(f"{url}/audio", headers={"range": "bytes=999999-"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))


async def test_conditions_are_checked_by_the_etag(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    url = f"{await finished(jobs_client, room)}/audio"
    etag = (await jobs_client.get(url)).headers["etag"]
    for tags, status in (
        (etag, 304), ("*", 304), (f"W/{etag}", 304), (f'"other", {etag}', 304), ('"other"', 200),
        ('W/"other"', 200),
    ):  # fmt: skip
        response = await jobs_client.get(url, headers={"if-none-match": tags})
        assert response.status_code == status, tags
    for condition, status in ((etag, 206), ('"other"', 200)):
        headers = {"range": "bytes=0-3", "if-range": condition}
        assert (await jobs_client.get(url, headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [("2", 404, "job_not_found"), ("-1", 404, "job_not_found"), ("x", 404, "job_not_found"),
     ("9" * 30, 404, "job_not_found")],
)  # fmt: skip
async def test_a_file_that_is_not_there(
    jobs_client: httpx.AsyncClient, room: JobRoom, number: str, status: int, code: str
) -> None:
    url = await finished(jobs_client, room)
    response = await jobs_client.get(f"{url}/audio/{number}")
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_an_unfinished_and_a_canceled_job_have_none(jobs_client: httpx.AsyncClient) -> None:
    job = await submit(jobs_client)
    response = await jobs_client.get(f"/v1/jobs/{job['id']}/audio")
    assert (response.status_code, response.json()["code"]) == (409, "job_not_finished")
    assert "retry-after" in response.headers
    await jobs_client.post(f"/v1/jobs/{job['id']}/cancel")
    response = await jobs_client.get(f"/v1/jobs/{job['id']}/audio")
    assert (response.status_code, response.json()["code"]) == (409, "job_has_no_result")


async def test_an_erased_file_is_gone(jobs_client: httpx.AsyncClient, room: JobRoom) -> None:
    url = await finished(jobs_client, room)
    job = await room.service.get("", url.rpartition("/")[2])
    assert job.results[0].key is not None
    await room.service.results.delete(job.results[0].key)
    response = await jobs_client.get(f"{url}/audio")
    assert (response.status_code, response.json()["code"]) == (410, "result_expired")


def events_of(text: str) -> list[tuple[str, str, dict[str, object]]]:
    """Events of a stream: name, id and data."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


async def test_events_follow_a_job_to_its_end(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    job = await submit(jobs_client)
    following = asyncio.create_task(jobs_client.get(f"/v1/jobs/{job['id']}/events"))
    claim = await room.claim()
    await room.progress(claim, 0.5)
    await room.succeed(claim)
    response = await following
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [name for name, _, _ in events][-1] == "completed"
    assert {name for name, _, _ in events[:-1]} <= {"progress"}
    numbers = [int(number) for _, number, _ in events]
    assert numbers == sorted(set(numbers))
    assert events[-1][2]["status"] == "succeeded"


async def test_a_reconnection_gets_what_it_has_not_seen(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    url = f"{await finished(jobs_client, room)}/events"
    [(name, last, _)] = events_of((await jobs_client.get(url)).text)
    assert name == "completed"
    again = await jobs_client.get(url, headers={"last-event-id": str(int(last) - 1)})
    assert [number for _, number, _ in events_of(again.text)] == [last]
    ended = await jobs_client.get(url, headers={"last-event-id": last})
    assert (ended.status_code, ended.content) == (204, b"")
    odd = await jobs_client.get(url, headers={"last-event-id": "x"})
    assert len(events_of(odd.text)) == 1


async def test_a_quiet_stream_shows_that_it_lives(
    jobs_client: httpx.AsyncClient, room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = room.service.changes
    quiet: asyncio.Queue[None] = asyncio.Queue()

    async def soon_quiet(
        _: object, owner: str, job_id: str, after: int
    ) -> AsyncIterator[Job | None]:
        async for state in changes(owner, job_id, after, 0.01):
            if state is None:
                quiet.put_nowait(None)
            yield state

    monkeypatch.setattr(type(room.service), "changes", soon_quiet)
    job = await submit(jobs_client)
    following = asyncio.create_task(jobs_client.get(f"/v1/jobs/{job['id']}/events"))
    async with asyncio.timeout(60):
        for _ in range(2):
            await quiet.get()
    await room.succeed(await room.claim())
    assert (await following).text.count(": waiting\n\n") > 2, "the first is sent at once"
