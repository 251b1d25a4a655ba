"""Forms in which Replicate's clients upload a file."""

import json
import re
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from serve_app.api.errors import InvalidInput
from serve_app.api.repeated_fields import refuse_repeated
from serve_app.errors import InvalidRequest
from serve_app.jobs.intake import check_storable
from serve_app.jobs.stored_files import StoredFile, StoredFiles

FORM = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["content"],
            "properties": {
                "content": {"type": "string", "format": "binary", "description": "The file."},
                "filename": {"type": "string", "description": "Its name, instead of the part's."},
                "type": {"type": "string", "description": "Media type, instead of the part's."},
                "metadata": {
                    "type": "string",
                    "description": "A JSON object; or fields `metadata[name]` with texts.",
                },
            },
        }
    }
}
_MOST_NAME_BYTES = 255
_MOST_METADATA_CHARS = 4096
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
_UNKNOWN = "application/octet-stream"
_NESTED = re.compile(r"metadata((?:\[[^\[\]]+\])+)(\[\])?")  # as version 2 for Python sends it


async def store_upload(request: Request, owner: str, files: StoredFiles) -> StoredFile:
    """Store the file of a form. Raises InvalidInput, which names the field at fault."""
    try:
        form = await request.form(max_files=4, max_fields=200)
    except (HTTPException, UnicodeError, LookupError) as error:
        raise InvalidInput(f"the form cannot be read: {error}") from error
    try:
        _check_fields(form)
        content = form.get("content")
        if not isinstance(content, UploadFile):
            raise InvalidInput("content: a file is required, in a form (multipart/form-data)")
        metadata = await _metadata(form)
        name = _name(_text(form, "filename"), content)
        media_type = _media_type(_text(form, "type"), content)
        return await files.add(owner, name, media_type, await content.read(), metadata)
    except InvalidInput:
        raise
    except InvalidRequest as error:
        raise InvalidInput(error.message) from error
    finally:
        await form.close()


def _check_fields(form: FormData) -> None:
    """Refuse other fields, and those that come twice. Raises InvalidRequest."""
    lists = {name for name in form if (nested := _NESTED.fullmatch(name)) and nested[2]}
    pairs = [(name, value) for name, value in form.multi_items() if name not in lists]
    refuse_repeated(FormData(pairs), "form")
    known = {"content", "filename", "type", "metadata"}
    for name in form:
        if name not in known and not _NESTED.fullmatch(name):
            raise InvalidInput(f"{name[:100]}: is no field of the form, which has content, filename, "
                               "type and metadata")  # fmt: skip


def _text(form: FormData, field: str) -> str | None:
    """Read a field of text; an empty one is absent. Raises InvalidInput for a file."""
    value = form.get(field)
    if isinstance(value, UploadFile):
        raise InvalidInput(f"{field}: must be a text, and is a file")
    return value or None


def _name(wanted: str | None, content: UploadFile) -> str:
    """Name the file. Raises InvalidRequest."""
    if wanted is None:
        name = (content.filename or "file")[:_MOST_NAME_BYTES]
        check_storable("content's name", name)
        return name
    check_storable("filename", wanted)
    if len(wanted.encode()) > _MOST_NAME_BYTES:
        raise InvalidInput(f"filename: must have at most {_MOST_NAME_BYTES} bytes")
    return wanted


def _media_type(wanted: str | None, content: UploadFile) -> str:
    """Name the media type; that of the part counts where it is one. Raises InvalidInput."""
    if wanted is None:
        kind = content.content_type or ""
        return kind if _MEDIA_TYPE.fullmatch(kind) else _UNKNOWN
    if not _MEDIA_TYPE.fullmatch(wanted):
        raise InvalidInput(f"type: must be a media type such as audio/wav, not '{wanted[:100]}'")
    return wanted


async def _metadata(form: FormData) -> dict[str, Any]:
    """Read the metadata. Raises InvalidRequest."""
    nested = _nested(form)
    value = form.get("metadata")
    if nested and value is not None:
        raise InvalidInput("metadata: send either a JSON object or fields metadata[name]")
    metadata = nested or await _parsed(value)
    if len(json.dumps(metadata, ensure_ascii=False)) > _MOST_METADATA_CHARS:
        raise InvalidInput(
            f"metadata: must be a JSON object of at most {_MOST_METADATA_CHARS} characters"
        )
    check_storable("metadata", metadata)
    return metadata


async def _parsed(value: UploadFile | str | None) -> dict[str, Any]:
    """Parse a text, or a file as the client for JavaScript sends it. Raises InvalidInput."""
    text = (await value.read()) if isinstance(value, UploadFile) else (value or "{}")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("metadata: must be a JSON object") from error
    if not isinstance(metadata, dict):
        raise InvalidInput("metadata: must be a JSON object")
    return metadata


def _nested(form: FormData) -> dict[str, Any]:
    """Collect the fields `metadata[a][b]`, and the lists `metadata[a][]`. Raises InvalidInput."""
    metadata: dict[str, Any] = {}
    for name in form:
        found = _NESTED.fullmatch(name)
        if found is None:
            continue
        *parents, last = found[1][1:-1].split("][")
        inner = metadata
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise InvalidInput(f"{name[:100]}: contradicts another field of metadata")
        if last in inner:
            raise InvalidInput(f"{name[:100]}: contradicts another field of metadata")
        values = [str(value) for value in form.getlist(name)]
        inner[last] = values if found[2] else values[0]
    return metadata
