"""Write the blocking client in serve_app/client from the client for asyncio: `make client`."""

import re
from pathlib import Path

from tools.client_fields import FILE as FIELDS
from tools.client_fields import formatted

FILES = {
    FIELDS.with_name("async_client.py"): FIELDS.with_name("sync_client.py"),
    FIELDS.with_name("async_jobs.py"): FIELDS.with_name("sync_jobs.py"),
}

_NOTE = "Written by `make client` from {source}: edit that."
# What stands in the blocking client for each of these.
_REPLACED = {
    '"""The client for asyncio."""': f'"""The blocking client. {_NOTE}"""',
    '"""Durable jobs of the client for asyncio."""': (
        f'"""Durable jobs of the blocking client. {_NOTE}"""'
    ),
    "Client for asyncio;": "Client with blocking calls;",
    "import asyncio\n": "import time\n",
    "asyncio.sleep": "time.sleep",
    "AsyncMusicGenClient": "MusicGenClient",
    "AsyncJobs": "Jobs",
    "client.async_jobs": "client.sync_jobs",
    "AsyncIterator, Awaitable, Callable": "Callable, Iterator",
    "Awaitable[httpx.Response]": "httpx.Response",
    "AsyncIterator": "Iterator",
    "httpx.AsyncClient": "httpx.Client",
    "httpx.AsyncBaseTransport": "httpx.BaseTransport",
    ".aread(": ".read(",
    ".aclose(": ".close(",
    ".aiter_sse(": ".iter_sse(",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
}
_YIELDING_LOOP = re.compile(
    r"for (\w+) in (\S+):\n +yield \1(?=\n)"
)  # `yield from` is not for asyncio


def source(file: Path) -> str:
    """The whole blocking file of one for asyncio."""
    text = file.read_text()
    for old, new in _REPLACED.items():
        text = text.replace(old, new.format(source=file.name))
    text = re.sub(r"\basync (?=def |for |with )", "", text)
    text = re.sub(r"\bawait ", "", text)
    return formatted(_YIELDING_LOOP.sub(r"yield from \2", text))


def unused() -> list[str]:
    """Texts of the table that no file has."""
    texts = "".join(file.read_text() for file in FILES)
    return [old for old in _REPLACED if old not in texts]


if __name__ == "__main__":
    for source_file, target in FILES.items():
        target.write_text(source(source_file))
        print(f"{target} is written")
