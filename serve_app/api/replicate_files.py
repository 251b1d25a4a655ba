"""Files of Replicate's clients: answers and addresses."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field

from serve_app.api.errors import InvalidInput
from serve_app.api.paths import FILES, JOBS
from serve_app.jobs.clock import iso
from serve_app.jobs.errors import (
    JobHasNoResult,
    JobNotFinished,
    JobNotFound,
    ResultExpired,
    UploadNotFound,
)
from serve_app.jobs.files import file_of
from serve_app.jobs.stored_files import StoredFile, StoredFiles

_OWN = re.compile(rf".*{FILES}/([0-9a-z]{{26}})(?:/content)?/?", re.ASCII)
_OUTPUT = re.compile(rf".*{JOBS}/([0-9a-z]{{26}})/audio(?:/(\d{{1,9}}))?/?", re.ASCII)


class FileAnswer(BaseModel):
    """An uploaded file."""

    id: Annotated[str, Field(description="Id of the file.")]
    name: Annotated[str, Field(description="Name of the file.")]
    content_type: Annotated[str, Field(description="Media type.")]
    size: Annotated[int, Field(description="Length in bytes.")]
    etag: Annotated[str, Field(description="SHA-256 of the file.")]
    checksums: Annotated[dict[str, str], Field(description="`sha256`.")]
    metadata: Annotated[dict[str, Any], Field(description="As sent.")]
    created_at: Annotated[str | None, Field(description="Time of the upload.")]
    expires_at: Annotated[str | None, Field(description="Time at which it is deleted.")]
    urls: Annotated[dict[str, str], Field(description="`get`: its signed address, for inputs.")]

    @classmethod
    def of(cls, file: StoredFile, files: StoredFiles, base_url: str) -> "FileAnswer":
        address = f"{base_url}{FILES}/{file.id}/content?token={files.token(file)}"
        return cls(
            id=file.id,
            name=file.name,
            content_type=file.media_type,
            size=file.size_bytes,
            etag=file.sha256,
            checksums={"sha256": file.sha256},
            metadata=file.metadata,
            created_at=iso(file.created_at),
            expires_at=iso(file.expires_at),
            urls={"get": address},
        )


class OwnFiles:
    """Finds files of this service by the addresses that it gave out. max_bytes: of an output."""

    def __init__(self, files: StoredFiles, base_url: str, max_bytes: int) -> None:
        self._files = files
        self._base_url = base_url
        self._max_bytes = max_bytes

    async def content_at(self, owner: str, url: str) -> bytes | None:
        """Read the file that an address names, also below another host's name of this service.

        None: it is elsewhere. Raises InvalidInput for an address below this service that names no
        file of the key: a malformed one, that of another key's file, and that of an expired file;
        and for an output of the key's own that has no file, or a large one.
        """
        path = url.partition("?")[0]
        if (output := _OUTPUT.fullmatch(path)) is not None:
            return await self._output(owner, output[1], int(output[2] or 0))
        found = _OWN.fullmatch(path)
        is_below = url.startswith(f"{self._base_url}{FILES}/")
        if found is None and not is_below:
            return None
        try:
            file = await self._files.get(owner, url if found is None else found[1])
        except UploadNotFound as error:
            if is_below:
                raise InvalidInput(f"input.input_audio: {error.message}") from error
            return None
        return await self._files.content(file)

    async def _output(self, owner: str, job_id: str, number: int) -> bytes | None:
        """Read an output of the owner's; None: it is another's, whose address may be signed."""
        job = await self._files.store.get(owner, job_id)
        if job is None:
            return None
        results = self._files.results
        try:
            file = await file_of(results, job, number)
            if file.size_bytes <= self._max_bytes:
                return b"".join([block async for block in results.read(file.key)])
        except (JobNotFinished, JobHasNoResult, JobNotFound, ResultExpired) as error:
            raise InvalidInput(f"input.input_audio: {error.message}") from error
        raise InvalidInput(f"input.input_audio: must have at most {self._max_bytes} bytes")
