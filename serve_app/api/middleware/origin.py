"""Origins of browsers' requests, where no API key tells callers from web pages."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.allowed_origins import AllowedOrigins
from serve_app.api.error_handlers import problem
from serve_app.api.errors import OriginNotAllowed
from serve_app.api.middleware.authentication import is_page
from serve_app.api.paths import STREAM, route_path

# Names that the public DNS does not have, so that no web page can point one at this service
# (RFC 6761, RFC 6762, RFC 8375, ICANN's resolution 2024.07.29.06).
_PRIVATE_DOMAINS = (".localhost", ".local", ".internal", ".home.arpa")
_SAME_ORIGIN = ("same-origin", "none")  # none: a person typed the address


class Origin:
    """Answer 403 to requests of web pages whose origin is neither the service's own nor `allowed`.

    Browsers send simple requests (Fetch, section 2.2.2) of any page without a preflight. They say
    where a request comes from in `Sec-Fetch-Site`, `Origin` or `Referer`; other clients send none
    of these, and pass. Against DNS rebinding, an origin under a public name is the service's own
    only if it is `allowed`, or if `Sec-Fetch-Site` says so: that header needs HTTPS or a loopback
    address, and rebinding has no certificate of the name.

    A link may lead here from anywhere, also to data: what a top-level navigation reads (Fetch
    Metadata, sections 2.1 and 2.2) is shown to the person, and the page that has the link cannot
    read it.
    """

    def __init__(self, app: ASGIApp, allowed: AllowedOrigins) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_page(scope) or self._may_call(scope):
            await self._app(scope, receive, send)
            return
        error = OriginNotAllowed(
            "A web page of another origin sent this request, and the service has no API keys. "
            "Name the page's origin in api.cors_origins, or give the service keys."
        )
        await problem(error)(scope, receive, send)

    def _may_call(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        site = headers.get("sec-fetch-site")
        if site in _SAME_ORIGIN:
            return True
        host = headers.get("host", "")
        source = headers.get("origin")
        if source is None and _is_navigation(headers) and not _makes(scope):
            return True
        if source is None:
            source = _referring_origin(headers)
        if source is not None:
            return self._allowed.allows(source) or (_is_private(host) and _host_of(source) == host)
        if site == "cross-site":
            return False
        return self._names(host) or not _is_a_browsers(headers)

    def _names(self, host: str) -> bool:
        """Test that pages under this host may call: no web page can have it, or it is allowed."""
        schemes = ("http", "https")
        return _is_private(host) or any(self._allowed.allows(f"{one}://{host}") for one in schemes)


def _makes(scope: Scope) -> bool:
    """Test that the request makes something, or may."""
    return scope["method"] not in ("GET", "HEAD", "OPTIONS") or route_path(scope) == STREAM


def _is_navigation(headers: Headers) -> bool:
    """Test that a person follows a link in a tab; a page cannot set these headers itself."""
    mode = headers.get("sec-fetch-mode")
    return mode == "navigate" and headers.get("sec-fetch-dest") == "document"


def _is_a_browsers(headers: Headers) -> bool:
    """Test for a header that every browser sends and no page can take away."""
    return "accept-language" in headers


def _referring_origin(headers: Headers) -> str | None:
    """Return the origin of `Referer`; None without one."""
    scheme, separator, rest = headers.get("referer", "").partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if separator else None


def _host_of(origin: str) -> str:
    """Return host and port of an origin, as `Host` has them; empty for `null`."""
    return origin.partition("://")[2]


def _is_private(host: str) -> bool:
    """Test that a host is an IP address or a name that only its own network knows."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    return "." not in name or name.endswith(_PRIVATE_DOMAINS) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
