"""Write serve_app/client/sync_client.py, the blocking client, from the client for asyncio: `make client`."""

import re

from tools.client_fields import FILE as FIELDS
from tools.client_fields import formatted

SOURCE = FIELDS.with_name("async_client.py")
FILE = FIELDS.with_name("sync_client.py")

_NOTE = "Written by `make client` from async_client.py: edit that."
# What stands in the blocking client for each of these.
_REPLACED = {
    '"""The client for asyncio."""': f'"""The blocking client. {_NOTE}"""',
    "Client for asyncio;": "Client with blocking calls;",
    "import asyncio\n": "import time\n",
    "asyncio.sleep": "time.sleep",
    "AsyncMusicGenClient": "MusicGenClient",
    "AsyncIterator": "Iterator",
    "httpx.AsyncClient": "httpx.Client",
    "httpx.AsyncBaseTransport": "httpx.BaseTransport",
    ".aread(": ".read(",
    ".aclose(": ".close(",
    ".aiter_sse(": ".iter_sse(",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
}


def source() -> str:
    """The whole file."""
    text = SOURCE.read_text()
    for old, new in _REPLACED.items():
        if old not in text:
            raise ValueError(f"{SOURCE} has no {old!r}: take it out of this table")
        text = text.replace(old, new)
    text = re.sub(r"\basync (?=def |for |with )", "", text)
    return formatted(re.sub(r"\bawait ", "", text))


if __name__ == "__main__":
    FILE.write_text(source())
    print(f"{FILE} is written")
