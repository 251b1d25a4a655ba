"""Upload of a finished file to the signed address that the job's caller gave."""

import asyncio
import logging
from collections.abc import Mapping

from serve_app.jobs.addresses import Addresses, Answer, NotAnswered
from serve_app.jobs.errors import UploadFailed
from serve_app.jobs.job import Upload

logger = logging.getLogger(__name__)

UPLOAD_S = 120.0  # for which one try may take
_PAUSES_S = (1.0, 4.0)  # before the second and the third try
_LATER = (408, 425, 429, 500, 502, 503, 504)
_OWN_HEADERS = ("host", "content-length", "transfer-encoding", "connection")  # of the connection


async def send_file(addresses: Addresses, upload: Upload, content: bytes, media_type: str) -> None:
    """Send a file by PUT, three times at most. Raises AddressRefused and UploadFailed.

    No error and no log tells the address, whose query is a credential.
    """
    headers = {"content-type": media_type} | _sent(upload.headers)
    for pause_s in (*_PAUSES_S, None):
        answer = await _try(addresses, upload.url, headers, content)
        if isinstance(answer, Answer) and answer.succeeded:
            return
        if pause_s is None or (isinstance(answer, Answer) and answer.status not in _LATER):
            raise UploadFailed(f"The upload address did not take the file: {_told(answer)}.")
        logger.warning("An upload is tried again: %s", _told(answer))
        await asyncio.sleep(pause_s)


async def _try(
    addresses: Addresses, url: str, headers: Mapping[str, str], content: bytes
) -> Answer | NotAnswered:
    try:
        return await addresses.send("PUT", url, headers, content)
    except NotAnswered as error:
        return error


def _told(answer: Answer | NotAnswered) -> str:
    return f"it answered {answer.status}" if isinstance(answer, Answer) else str(answer)


def _sent(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers without those of the connection, with names in lower case."""
    return {
        name.lower(): value for name, value in headers.items() if name.lower() not in _OWN_HEADERS
    }
