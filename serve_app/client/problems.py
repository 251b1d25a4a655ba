"""Errors of the clients: refusals of the service, and answers that are broken."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

BAD_ANSWER = "bad_answer"
CUT_OFF = "cut_off"
REDIRECTED = "redirected"
UNKNOWN = "unknown"
UNREADABLE = (ValueError, RecursionError)  # of JSON: malformed, or nested too deeply
UNUSABLE_URL = (httpx.InvalidURL, UnicodeError)  # of a location; the latter: a host's name
_CUT_OFF_TEXTS = ("peer closed connection", "Server disconnected")  # of httpcore and h11


@dataclass(eq=False)
class ApiError(Exception):
    """Refusal or failure of the service, or an answer that is not the service's.

    status: HTTP status; code: kind of error, stable; detail: explanation for people;
    retry_after_s: seconds after which the same request may be sent again, None where not given.

    Codes are those of docs/api.md and four of the clients: `bad_answer` (not the answer of a
    musicgen-serve), `cut_off` (the answer ended too early), `redirected` (to another host, or too
    often), `unknown` (an error without a code, such as a proxy's).
    """

    status: int
    code: str
    detail: str
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return self.detail


class UnusableUrl(ValueError):
    """URL of a client that is no URL of HTTP. The message names the URL and the right form."""


def refusal(response: httpx.Response) -> ApiError:
    """Build the error of an answer without success; the body may be a proxy's, of any form."""
    try:
        body = response.json()
    except UNREADABLE:
        body = None
    problem: Mapping[str, Any] = body if isinstance(body, dict) else {}
    phrase = f"{response.status_code} {response.reason_phrase}".strip()
    detail = problem.get("detail") or f"The server answered {phrase}"
    code = problem.get("code")
    return ApiError(
        response.status_code,
        code if isinstance(code, str) else UNKNOWN,
        str(detail),
        retry_after_s(response.headers.get("retry-after", "")),
    )


def failure(problem: Mapping[str, Any]) -> ApiError:
    """Build the error that an event tells. Raises KeyError, TypeError and ValueError."""
    return ApiError(int(problem["status"]), str(problem["code"]), str(problem["detail"]))


def bad_answer(lacking: str) -> ApiError:
    """Build the error of an answer that lacks something that the service always sends."""
    detail = f"The service's answer lacks {lacking}: is the URL that of a musicgen-serve?"
    return ApiError(502, BAD_ANSWER, detail)


def cut_off(lacking: str = "its end") -> ApiError:
    """Build the error of an answer that ended too early."""
    detail = f"The service's answer was cut off: it lacks {lacking}. Send the request again."
    return ApiError(502, CUT_OFF, detail)


@contextmanager
def broken_answers() -> Iterator[None]:
    """Raise the ApiError of an answer that breaks HTTP, or that ends too early.

    A server that cannot be reached, and a time-out, stay errors of httpx.
    """
    try:
        yield
    except (httpx.ReadError, httpx.WriteError) as error:
        raise cut_off() from error
    except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
        if str(error).startswith(_CUT_OFF_TEXTS):
            raise cut_off() from error
        raise bad_answer(f"the form of HTTP ({error})") from error
    except UNUSABLE_URL as error:  # httpx looks at a redirect's location, but does not follow it
        raise bad_answer("a valid location of its redirect") from error


def retry_after_s(value: str) -> float | None:
    """Parse `Retry-After`: seconds or a date (RFC 9110, 10.2.3). None for any other text."""
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
