"""Address of the service as the caller of a request sees it."""

from fastapi import Request

_SCHEMES = ("http", "https")
_FORWARDED = "x-forwarded-proto"
_MOST_CHARS = 500


def base_url(request: Request) -> str:
    """Return scheme, host and `route_prefix` without a slash at the end.

    The scheme is that of `X-Forwarded-Proto`, which a proxy with TLS sets. The address is only told
    to the caller itself, and `jobs.public_url` overrides it.
    """
    url = str(request.base_url).rstrip("/")
    proto = request.headers.get(_FORWARDED, "").partition(",")[0].strip().lower()
    if proto in _SCHEMES:
        url = f"{proto}://{url.partition('://')[2]}"
    return url[:_MOST_CHARS]
