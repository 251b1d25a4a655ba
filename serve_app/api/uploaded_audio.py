"""Audio in the fields of a body: base64, or the address of a file that this service keeps."""

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass

from serve_app.api.paths import FILES, JOBS
from serve_app.errors import InvalidAudio
from serve_app.jobs.errors import (
    JobHasNoResult,
    JobNotFinished,
    JobNotFound,
    ResultExpired,
    UploadNotFound,
)
from serve_app.jobs.service import JobService
from serve_app.jobs.stored_files import StoredFiles

_TO_STANDARD_ALPHABET = str.maketrans("-_", "+/")
_NOT_THERE = (JobNotFound, JobNotFinished, JobHasNoResult, ResultExpired, UploadNotFound)
# No base64 of a file of audio begins with `/v1/`.
_ADDRESS = re.compile(
    rf"(?:https?://[^?#\s]{{1,2000}}?)?(?:{JOBS}/([0-9a-z]{{26}})/audio(?:/(\d{{1,9}}))?"
    rf"|{FILES}/([0-9a-z]{{26}})(?:/content)?)/?(?:\?[^#\s]{{0,2000}})?",
    re.ASCII,
)
_URL = re.compile(r"https?:|/v1/", re.ASCII)


@dataclass(frozen=True, slots=True)
class Uploads:
    """Contents of the files of a request. audio_prompt: the track's beginning; melody: to follow."""

    audio_prompt: bytes | None = None
    melody: bytes | None = None

    @property
    def are_there(self) -> bool:
        return self.audio_prompt is not None or self.melody is not None


NO_UPLOADS = Uploads()


class UploadedAudio:
    """Reads the audio that a field holds or names.

    jobs: whose results and uploaded files may be named; None: none may; max_bytes: of such a file.
    """

    def __init__(self, jobs: JobService | None, max_bytes: int) -> None:
        self._jobs = jobs
        self._max_bytes = max_bytes

    async def both(self, owner: str, audio_prompt: str | None, melody: str | None) -> Uploads:
        """Read the two fields of a request. Raises InvalidAudio, which names the field."""
        return Uploads(
            await self._optional(owner, audio_prompt, "audio_prompt"),
            await self._optional(owner, melody, "melody"),
        )

    async def _optional(self, owner: str, text: str | None, field: str) -> bytes | None:
        return None if text is None else await self.content(owner, text, field)

    async def content(self, owner: str, text: str, field: str) -> bytes:
        """Read a field: base64, a data URL, or the address of a file of the owner's.

        The host of an address is not asked: the path names a file of this service. Raises
        InvalidAudio, JobStoreUnavailable and ResultsUnavailable.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            return await audio_content(text, field)
        if self._jobs is None:
            raise _refused(field, "this service keeps no files, send the file itself")
        try:
            return await self._kept(self._jobs, owner, found, field)
        except _NOT_THERE as error:
            raise _refused(field, error.message) from error

    async def _kept(
        self, jobs: JobService, owner: str, address: re.Match[str], field: str
    ) -> bytes:
        job_id, number, file_id = address.groups()
        if job_id is not None:
            result = await jobs.file(owner, job_id, int(number or 0))
            key, size = result.key, result.size_bytes
        else:
            files = StoredFiles(jobs.store, jobs.results, jobs.links)
            stored = await files.get(owner, file_id)
            key, size = stored.key, stored.size_bytes
        if size > self._max_bytes:
            raise _refused(
                field, f"the file has {size} bytes, and the limit is {self._max_bytes}: send less"
            )
        return b"".join([block async for block in jobs.results.read(key)])


def names_files(*texts: str | None) -> bool:
    """Whether a field names a file that this service keeps."""
    return any(text is not None and _ADDRESS.fullmatch(text) for text in texts)


async def audio_content(text: str, field: str = "audio_prompt") -> bytes:
    """Decode the base64 of a body's audio, off the event loop. Raises InvalidAudio."""
    try:
        return await asyncio.to_thread(_decoded, text.partition("base64,")[2] or text)
    except ValueError as error:
        hint = ", and no address of a file that this service keeps" if _URL.match(text) else ""
        raise InvalidAudio(f"{field} is not valid base64{hint}") from error


def _decoded(text: str) -> bytes:
    """Decode base64 of either alphabet (RFC 4648, sections 4 and 5), wrapped or not, padded or not.

    Raises ValueError.
    """
    compact = "".join(text.split()).translate(_TO_STANDARD_ALPHABET).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _refused(field: str, reason: str) -> InvalidAudio:
    return InvalidAudio(f"{field}: {reason}", field=field)
