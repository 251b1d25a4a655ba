"""Files of Replicate's clients: forms, answers and addresses."""

import json
import re
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from serve_app.api.paths import FILES
from serve_app.errors import InvalidInput
from serve_app.jobs.clock import iso
from serve_app.jobs.errors import UploadNotFound
from serve_app.jobs.intake import check_storable
from serve_app.jobs.stored_files import StoredFile, StoredFiles

_MOST_NAME_CHARS = 255
_MOST_METADATA_CHARS = 4096
_OWN = re.compile(rf"{FILES}/([0-9a-z]{{26}})(?:/content)?(?:\?.*)?", re.ASCII)
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
_UNKNOWN = "application/octet-stream"


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
    """Finds files of this service by the addresses that it gave out."""

    def __init__(self, files: StoredFiles, base_url: str) -> None:
        self._files = files
        self._base_url = base_url

    async def content_at(self, owner: str, url: str) -> bytes | None:
        """Read the file of an address below this service; None: it is elsewhere.

        Raises InvalidInput for a file of another key, and for one that has expired.
        """
        if not url.startswith(self._base_url + FILES + "/"):
            return None
        found = _OWN.fullmatch(url[len(self._base_url) :])
        if found is None:
            return None
        try:
            return await self._files.content(await self._files.get(owner, found[1]))
        except UploadNotFound as error:
            raise InvalidInput(f"input.input_audio: {error.message}") from error


async def store_upload(request: Request, owner: str, files: StoredFiles) -> StoredFile:
    """Store the file of a form: `content`, and `metadata` as JSON. Raises InvalidInput."""
    try:
        form = await request.form(max_files=2, max_fields=10)
    except (HTTPException, UnicodeError, LookupError) as error:
        raise InvalidInput(f"the form cannot be read: {error}") from error
    try:
        content = form.get("content")
        if not isinstance(content, UploadFile):
            raise InvalidInput("content: a file is required, in a form (multipart/form-data)")
        metadata = await _metadata(form.get("metadata"))
        name = (content.filename or "file")[:_MOST_NAME_CHARS]
        check_storable("content's name", name)
        kind = content.content_type or ""
        media_type = kind if _MEDIA_TYPE.fullmatch(kind) else _UNKNOWN
        return await files.add(owner, name, media_type, await content.read(), metadata)
    finally:
        await form.close()


async def _metadata(value: UploadFile | str | None) -> dict[str, Any]:
    """Parse the metadata: a text, or a file as the client for JavaScript sends it."""
    text = (await value.read()) if isinstance(value, UploadFile) else (value or "{}")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("metadata: must be a JSON object") from error
    if not isinstance(metadata, dict) or len(text) > _MOST_METADATA_CHARS:
        raise InvalidInput(
            f"metadata: must be a JSON object of at most {_MOST_METADATA_CHARS} characters"
        )
    check_storable("metadata", metadata)
    return metadata
