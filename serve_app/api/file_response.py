"""Answers with a stored file, whole or in part (RFC 9110, sections 13 and 14)."""

from collections.abc import AsyncIterator, Callable

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from serve_app.api.byte_range import parse_range
from serve_app.api.error_handlers import problem
from serve_app.api.errors import RangeNotSatisfiable
from serve_app.jobs.files import JobFile

_NO_STORE = {"cache-control": "no-store"}
ReadFile = Callable[[str, int, int | None], AsyncIterator[bytes]]


def file_response(request: Request, file: JobFile, read: ReadFile) -> Response:
    """Answer with the whole file (200), a range (206), 304 or 416; to HEAD without the bytes.

    read: stream of the bytes of a key from a start to an end (exclusive).
    """
    if _has(request.headers.get("if-none-match"), file.etag):
        return Response(status_code=304, headers=_headers(file))
    positions = range(file.size_bytes)
    is_partial = False
    condition = request.headers.get("if-range")
    wanted = parse_range(request.headers.get("range"))
    if wanted is not None and condition in (None, file.etag):
        try:
            positions = wanted.within(file.size_bytes)
        except RangeNotSatisfiable as error:
            return problem(error, {"content-range": f"bytes */{file.size_bytes}"})
        is_partial = True
    return _answer(request, file, read, positions, is_partial)


def _has(condition: str | None, etag: str) -> bool:
    """Test for `*`, or a list with this entity tag, also as a weak one, into which proxies turn it."""
    tags = [tag.strip().removeprefix("W/") for tag in (condition or "").split(",")]
    return etag in tags or tags == ["*"]


def _answer(
    request: Request, file: JobFile, read: ReadFile, positions: range, is_partial: bool
) -> Response:
    headers = _headers(file) | {"content-length": str(len(positions))}
    if is_partial:
        last = positions.stop - 1
        headers["content-range"] = f"bytes {positions.start}-{last}/{file.size_bytes}"
    status = 206 if is_partial else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    content = read(file.key, positions.start, positions.stop)
    return StreamingResponse(content, status, headers, media_type=file.media_type)


def _headers(file: JobFile) -> dict[str, str]:
    return _NO_STORE | {
        "accept-ranges": "bytes",
        "etag": file.etag,
        "content-disposition": f'inline; filename="{file.name}"',
    }
