"""Results in a bucket of Amazon S3, or of a store with the same interface.

boto3 is the client, because it alone finds credentials wherever AWS puts them (environment, files,
roles of nodes and of pods), and because `ray up` on AWS needs it already. Its calls run in threads.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from serve_app.errors import ConfigError
from serve_app.jobs.errors import ResultExpired, ResultsUnavailable

T = TypeVar("T")
_BLOCK_BYTES = 2**18
_MISSING = ("404", "NoSuchKey", "NotFound")


class S3Results:
    """A ResultStore in a bucket, below `prefix`. Credentials come from AWS's usual places.

    endpoint_url: of a store with S3's interface, which is addressed by paths; None: AWS.
    Raises ConfigError without the extra `s3`.
    """

    def __init__(self, bucket: str, prefix: str = "", endpoint_url: str | None = None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = _client(endpoint_url)

    def prepare(self) -> None:
        """Look for the bucket. Raises ResultsUnavailable if it cannot be used."""
        self._tell(lambda: self._client.head_bucket(Bucket=self._bucket))

    async def put(self, key: str, content: bytes, media_type: str) -> None:
        """Store a file. Raises ResultsUnavailable."""
        await self._call(
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=content, ContentType=media_type
            )
        )

    async def size(self, key: str) -> int | None:
        """Size in bytes; None: there is no such file. Raises ResultsUnavailable."""
        try:
            head = await self._call(
                lambda: self._client.head_object(Bucket=self._bucket, Key=self._key(key))
            )
        except ResultExpired:
            return None
        return int(head["ContentLength"])

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes from `start` to `end`. Raises ResultExpired and ResultsUnavailable."""
        if end is not None and end <= start:
            return
        wanted = {} if (start, end) == (0, None) else {"Range": _range(start, end)}
        found = await self._call(
            lambda: self._client.get_object(Bucket=self._bucket, Key=self._key(key), **wanted)
        )
        body = found["Body"]
        try:
            while block := await self._call(lambda: body.read(_BLOCK_BYTES)):
                yield block
        finally:
            body.close()

    async def delete(self, key: str) -> None:
        """Erase a file. Raises ResultsUnavailable."""
        await self._call(
            lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(key))
        )

    def _key(self, key: str) -> str:
        return self._prefix + key

    async def _call(self, call: Callable[[], T]) -> T:
        return await asyncio.to_thread(self._tell, call)

    def _tell(self, call: Callable[[], T]) -> T:
        """Translate the client's errors. Raises ResultExpired and ResultsUnavailable."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            return call()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _MISSING and error.operation_name != "HeadBucket":
                raise ResultExpired("The file has been deleted. Make the track again.") from error
            raise ResultsUnavailable(
                f"The bucket of results refused the request ({code})."
            ) from error
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise ResultsUnavailable(
                f"The bucket of results cannot be reached ({type(error).__name__})."
            ) from error


def _range(start: int, end: int | None) -> str:
    return f"bytes={start}-{'' if end is None else end - 1}"


def _client(endpoint_url: str | None) -> Any:
    """Build a client that is safe to share between threads."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ConfigError(
            "jobs.results names an S3 bucket, which needs the extra s3: "
            "install musicgen-serve[s3], or name a folder."
        ) from error
    style = "path" if endpoint_url else "auto"
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        retries={"mode": "standard", "max_attempts": 4},
        s3={"addressing_style": style},
        # Other stores than Amazon's lack the newer checksums of its requests.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session()
    region = session.region_name or "us-east-1"
    return session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
