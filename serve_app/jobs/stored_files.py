"""Files that callers upload before they use them: `/v1/files` of Replicate's clients."""

import asyncio
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from serve_app.jobs.errors import UploadNotFound
from serve_app.jobs.ids import is_id, new_id
from serve_app.jobs.links import Grant, Links
from serve_app.jobs.results import ResultStore
from serve_app.jobs.store import JobStore

KEPT_S = 86_400.0
_TEXT = "application/json"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded file. Times are Unix times by the database's clock; metadata: the caller's own."""

    id: str
    owner: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: float
    expires_at: float
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return _key(self.id)


@dataclass(frozen=True)
class StoredFiles:
    """Keeps files in the results' store for a day, each with a description beside it."""

    store: JobStore
    results: ResultStore
    links: Links

    async def add(
        self, owner: str, name: str, media_type: str, content: bytes, metadata: dict[str, Any]
    ) -> StoredFile:
        """Store a file. Its erasure is noted first, so that a crash leaves nothing behind."""
        now = await self.store.now()
        file_id = new_id()
        digest = await asyncio.to_thread(_sha256, content)
        file = StoredFile(
            file_id, owner, name, media_type, len(content), digest, now, now + KEPT_S, metadata
        )
        await self.store.erase_later((file.key, _described(file_id)), KEPT_S)
        await self.results.put(file.key, content, media_type)
        await self.results.put(_described(file_id), json.dumps(asdict(file)).encode(), _TEXT)
        return file

    async def get(self, owner: str, file_id: str) -> StoredFile:
        """Find a file of an owner. Raises UploadNotFound."""
        file = await self._read(file_id)
        if file is None or file.owner != owner or file.expires_at < await self.store.now():
            raise UploadNotFound(f"There is no file '{file_id[:64]}' of this API key")
        return file

    async def linked(self, file_id: str, token: str) -> StoredFile:
        """Find the file of a signed link. Raises Unauthorized and UploadNotFound."""
        return await self.get(self.links.value_of(file_purpose(file_id), token), file_id)

    async def delete(self, owner: str, file_id: str) -> None:
        """Erase a file. Raises UploadNotFound."""
        file = await self.get(owner, file_id)
        await self.results.delete(file.key)
        await self.results.delete(_described(file.id))

    async def content(self, file: StoredFile) -> bytes:
        return b"".join([block async for block in self.results.read(file.key)])

    def token(self, file: StoredFile) -> str:
        """Sign the file's link for as long as it is kept."""
        return self.links.token(Grant(file_purpose(file.id), file.owner), KEPT_S)

    async def _read(self, file_id: str) -> StoredFile | None:
        if not is_id(file_id) or await self.results.size(_described(file_id)) is None:
            return None
        text = b"".join([block async for block in self.results.read(_described(file_id))])
        return StoredFile(**json.loads(text))


def file_purpose(file_id: str) -> str:
    """Name the purpose of links to an uploaded file."""
    return f"file/{file_id}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _key(file_id: str) -> str:
    return f"files/{file_id}"


def _described(file_id: str) -> str:
    return f"files/{file_id}.json"
