"""Preferences of a request: `Prefer` (RFC 7240)."""

import re
from dataclasses import dataclass
from urllib.request import parse_http_list

from starlette.datastructures import Headers

APPLIED = "preference-applied"
MOST_WAIT_S = 60.0
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Preferences:
    """Preferences that routes obey; unknown and malformed ones are ignored, as the RFC asks.

    respond_async: to answer before the work is done; wait_s: seconds to wait for its end, at most
    60; None: none are named. `wait` without a number is 60, as Replicate's clients send it.
    deadline_s: the seconds of `wait` as the client named them, None for no number above 0, and for a
    client that would take an answer before the work is done.
    """

    respond_async: bool = False
    wait_s: float | None = None
    deadline_s: float | None = None

    @property
    def applied(self) -> dict[str, str]:
        """Headers that name the preferences."""
        names = ["respond-async"] if self.respond_async else []
        if self.wait_s is not None:
            names.append(f"wait={self.wait_s:.0f}")
        return {APPLIED: ", ".join(names)} if names else {}


def preferences(headers: Headers) -> Preferences:
    """Parse all `Prefer` headers. The first value of a repeated preference counts."""
    found: dict[str, str] = {}
    for one in parse_http_list(",".join(headers.getlist("prefer"))):
        name, _, value = one.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait")
    named_s = float(wait) if wait and _NUMBER.fullmatch(wait) else None
    wait_s = MOST_WAIT_S if wait == "" else named_s and min(MOST_WAIT_S, named_s)
    is_async = "respond-async" in found
    return Preferences(is_async, wait_s, None if is_async else named_s or None)
