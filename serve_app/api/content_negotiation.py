"""Choice among the media types that a client accepts (RFC 9110, 12.5.1)."""

import re
from urllib.request import parse_http_list

from starlette.datastructures import Headers
from starlette.types import Scope

_ANY = "*/*"
_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


def wants_page(scope: Scope) -> bool:
    """Test that a browser asks for a page: it accepts text/html by name."""
    return _accepted(Headers(scope=scope)).get("text/html", 0.0) > 0


def prefers(headers: Headers, media_type: str, default: str) -> bool:
    """Test that a client wants `media_type` rather than `default`.

    The one of the greater weight is preferred; of equal weights, the one that is named more
    precisely, so that `audio/flac, */*` asks for FLAC.
    """
    accepted = _accepted(headers)
    wanted = _weight(accepted, media_type)
    return wanted[0] > 0 and wanted > _weight(accepted, default)


def _weight(accepted: dict[str, float], media_type: str) -> tuple[float, int]:
    """Find the weight of the most precise range that has the type, and how precise that is.

    Without any range everything is accepted.
    """
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", _ANY)
    for precision, name in zip((2, 1, 0), ranges, strict=True):
        if name in accepted:
            return accepted[name], precision
    return (0.0 if accepted else 1.0), 0


def _accepted(headers: Headers) -> dict[str, float]:
    """Parse all `Accept` headers: media range -> weight. A malformed weight is 0."""
    weights: dict[str, float] = {}
    for one in parse_http_list(",".join(headers.getlist("accept"))):
        name, *parameters = (part.strip().lower() for part in one.split(";"))
        given = [value.removeprefix("q=") for value in parameters if value.startswith("q=")]
        text = given[-1] if given else "1"
        if name:
            weights[name] = float(text) if _WEIGHT.fullmatch(text) else 0.0
    return weights
