"""The connection of a command to the service: its options, and its errors as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import httpx
import typer

from serve_app.cli.console import fail
from serve_app.client import NO_RETRIES, ApiError, MusicGenClient
from serve_app.client.problems import UnusableUrl

_UNAUTHORIZED = 401
DEFAULT_URL = "http://127.0.0.1:8000"
Url = Annotated[str, typer.Option(envvar="MUSICGEN_URL", help="URL of the service.")]
Key = Annotated[
    str | None,
    typer.Option(envvar="MUSICGEN_API_KEY", help="API key of the service.", show_envvar=True),
]


@contextmanager
def connected(url: str, key: str | None) -> Iterator[MusicGenClient]:
    """Yield a client. Report an error of the service or of the network and exit with status 1."""
    try:
        with MusicGenClient(url, key, retries=NO_RETRIES) as client:
            yield client
    except ApiError as error:
        fail(f"{error.detail}{_cure(error)} ({error.code})")
    except httpx.ConnectError:
        fail(
            f"The service cannot be reached at {url}. "
            "Start it (`musicgen serve`), or correct --url."
        )
    except UnusableUrl as error:
        fail(f"{error} Correct --url, or the variable MUSICGEN_URL.")
    except ValueError as error:
        fail(str(error))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fail(f"The request to {url} failed: {error or type(error).__name__}")


def _cure(error: ApiError) -> str:
    if error.status == _UNAUTHORIZED:
        return " Give one of the service's keys: --key KEY, or the variable MUSICGEN_API_KEY."
    return f" Try again in {error.retry_after_s:.0f} s." if error.retry_after_s else ""
