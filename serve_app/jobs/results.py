"""The protocol of a results' store: files of jobs, by key."""

from collections.abc import AsyncIterator
from typing import Protocol


def result_key(job_id: str, attempt: int, index: int, file_format: str) -> str:
    """Name the file of a job's variation. index: 0 for the first; file_format: `response_format`.

    A job store lists the files of lost attempts by this rule, in order to erase them. Uploads are
    stored as `inputs/<id>`.
    """
    return f"{job_id}/{attempt}/{index}.{file_format}"


class ResultStore(Protocol):
    """Files by key. Raises ResultsUnavailable where the store cannot be reached or is full."""

    async def put(self, key: str, content: bytes, media_type: str) -> None:
        """Store a file so that it survives a crash once this returns."""
        ...

    async def size(self, key: str) -> int | None:
        """Size in bytes; None: there is no such file."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` to `end` (exclusive)."""
        ...

    async def delete(self, key: str) -> None:
        """Erase a file; one that is not there is no error."""
        ...
