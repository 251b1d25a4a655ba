"""Redirects of a service: followed on its own host only, so that no other host gets the key."""

import httpx

from serve_app.client.problems import REDIRECTED, UNUSABLE_URL, ApiError, bad_answer

MAX_REDIRECTS = 5
_TO_GET = 303
_OF_A_BODY = ("content-length", "content-type", "transfer-encoding")
_STATUSES = (301, 302, 303, 307, 308)


def is_redirect(response: httpx.Response) -> bool:
    """Whether the answer names another URL for the request."""
    return response.status_code in _STATUSES


def redirected(request: httpx.Request, response: httpx.Response) -> httpx.Request:
    """Build the request that a redirect asks for.

    303 asks for a GET; after every other status the method and the body stay, also after 301 and
    302, where a GET would lose the body (RFC 9110, 15.4). Raises ApiError for a redirect to another
    host, to another port, or from https to http: none of them may get the key and the body.
    """
    url = _target(request.url, response)
    if not _is_same_service(request.url, url):
        raise ApiError(
            response.status_code,
            REDIRECTED,
            f"The service redirects to {_origin(url)}, and its key must not go there. "
            "If that is your service, use it as the URL.",
        )
    to_get = response.status_code == _TO_GET and request.method != "HEAD"
    dropped = ("host", *(_OF_A_BODY if to_get else ()))
    kept = [(name, value) for name, value in request.headers.items() if name not in dropped]
    return httpx.Request(
        "GET" if to_get else request.method,
        url,
        headers=[("host", url.netloc.decode("ascii")), *kept],
        stream=None if to_get else request.stream,
        extensions=request.extensions,
    )


def too_many_redirects() -> ApiError:
    """Build the error of a service that redirects without an end."""
    return ApiError(508, REDIRECTED, f"The service redirects more than {MAX_REDIRECTS} times.")


def _target(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    try:
        target = url.join(response.headers["location"])
        target.host  # noqa: B018 - httpx decodes its IDNA only now
    except (KeyError, *UNUSABLE_URL) as error:
        raise bad_answer("a valid location of its redirect") from error
    return target


def _is_same_service(old: httpx.URL, new: httpx.URL) -> bool:
    if old.host != new.host:
        return False
    is_upgrade = (old.scheme, new.scheme) == ("http", "https")
    return is_upgrade or _origin(old) == _origin(new)


def _origin(url: httpx.URL) -> str:
    """Scheme, host and port; a default port is left out."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
