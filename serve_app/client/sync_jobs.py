"""Durable jobs of the blocking client. Written by `make client` from async_jobs.py: edit that."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Unpack

import httpx

from serve_app.client.answers import AudioFile, file_of
from serve_app.client.audio_input import AudioInput, Uploads
from serve_app.client.calls import Call
from serve_app.client.jobs import (
    Job,
    JobFields,
    JobStatus,
    audio_call,
    cancel_call,
    delete_call,
    job_call,
    job_of,
    page_call,
    page_of,
    submit_call,
)

_LONGEST_WAIT_S = 30.0  # of one request; proxies end silent ones
_PAGE = 100


class Jobs:
    """Jobs of the client's API key, which outlive its connection.

    Methods raise as those of the client.
    """

    def __init__(self, send: Callable[[Call], httpx.Response]) -> None:
        self._send = send

    def submit(
        self,
        prompt: str = "",
        *,
        audio_prompt: AudioInput | None = None,
        melody: AudioInput | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[JobFields],
    ) -> Job:
        """Add a job; a repetition with the same idempotency key returns the first one."""
        uploads = Uploads(audio_prompt, melody)
        return job_of(self._send(submit_call(prompt, uploads, idempotency_key, fields)))

    def get(self, job_id: str) -> Job:
        """Fetch the state of a job."""
        return job_of(self._send(job_call(job_id)))

    def list(self, status: JobStatus | None = None) -> Iterator[Job]:
        """Yield the jobs, the newest first."""
        cursor: str | None = None
        while True:
            page = page_of(self._send(page_call(status, cursor, _PAGE)))
            yield from page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def follow(self, job_id: str, interval_s: float = 1.0) -> Iterator[Job]:
        """Yield the state of a job about each `interval_s` seconds, the last time at its end."""
        job = self.get(job_id)
        while not job.has_ended:
            yield job
            job = job_of(self._send(job_call(job_id, max(1.0, interval_s))))
        yield job

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Wait until a job has ended, or `timeout_s` seconds; return its state then."""
        end = None if timeout_s is None else monotonic() + timeout_s
        while True:
            left_s = _LONGEST_WAIT_S if end is None else end - monotonic()
            job = job_of(self._send(job_call(job_id, min(left_s, _LONGEST_WAIT_S))))
            if job.has_ended or (end is not None and monotonic() >= end):
                return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended stays as it is."""
        return job_of(self._send(cancel_call(job_id)))

    def delete(self, job_id: str) -> None:
        """Erase a job with its prompt, uploads and audio; a running one stops."""
        self._send(delete_call(job_id))

    def audio(self, job_id: str, number: int = 0) -> AudioFile:
        """Fetch a finished file by its number, from 0."""
        return file_of(self._send(audio_call(job_id, number)))
