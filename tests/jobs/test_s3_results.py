"""Results in a bucket, in a real server with S3's interface (moto)."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from serve_app.errors import ConfigError
from serve_app.jobs.errors import ResultExpired, ResultsUnavailable
from serve_app.jobs.s3_results import S3Results
from tests.raw_server import refusing_port

KEY = "01abc/1/0.wav"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials by AWS's names; no file of this machine is read."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def bucket(endpoint: str) -> Iterator[Any]:
    import boto3

    resource = boto3.resource("s3", endpoint_url=endpoint)
    bucket = resource.create_bucket(
        Bucket="music", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


@pytest.fixture
def results(endpoint: str, bucket: Any) -> S3Results:
    assert bucket.name == "music"
    results = S3Results("music", "/jobs/a/", endpoint)
    results.prepare()
    return results


async def content_of(results: S3Results, key: str, *span: int) -> bytes:
    return b"".join([block async for block in results.read(key, *span)])


async def test_a_file_is_read_as_it_was_stored(results: S3Results, bucket: Any) -> None:
    content = os.urandom(600_000)
    await results.put(KEY, content, "audio/wav")
    assert await results.size(KEY) == len(content)
    assert await content_of(results, KEY) == content
    assert await content_of(results, KEY, 5, 300_000) == content[5:300_000]
    assert await content_of(results, KEY, 599_999) == content[-1:]
    assert await content_of(results, KEY, 7, 7) == b""
    [stored] = bucket.objects.all()
    assert stored.key == f"jobs/a/{KEY}"
    assert stored.get()["ContentType"] == "audio/wav"


async def test_a_deleted_file_is_gone(results: S3Results) -> None:
    await results.put(KEY, b"music", "audio/wav")
    await results.delete(KEY)
    await results.delete(KEY)
    assert await results.size(KEY) is None
    with pytest.raises(ResultExpired):
        await content_of(results, KEY)


async def test_a_missing_bucket_is_told(endpoint: str) -> None:
    results = S3Results("nowhere", "", endpoint)
    with pytest.raises(ResultsUnavailable, match="refused the request"):
        results.prepare()
    with pytest.raises(ResultsUnavailable, match="NoSuchBucket"):
        await results.put(KEY, b"music", "audio/wav")


async def test_a_store_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the client's tries
    with refusing_port() as port, pytest.raises(ResultsUnavailable, match="cannot be reached"):
        await S3Results("music", "", f"http://127.0.0.1:{port}").put(KEY, b"", "audio/wav")


async def test_missing_credentials_are_told(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ResultsUnavailable, match="NoCredentialsError"):
        await S3Results("music", "", endpoint).put(KEY, b"", "audio/wav")


def test_a_missing_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match="extra s3"):
        S3Results("music")
