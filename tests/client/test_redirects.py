"""Redirects within one service are followed; others are errors."""

import httpx
import pytest

from serve_app.client import ApiError
from serve_app.client.redirects import redirected

REQUEST = httpx.Request("POST", "http://a:8000/v1/x", headers={"authorization": "k"}, json={})


def target(location: str, request: httpx.Request = REQUEST) -> str:
    response = httpx.Response(307, headers={"location": location})
    return str(redirected(request, response).url)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/y", "http://a:8000/y"),
        ("y?z=1", "http://a:8000/v1/y?z=1"),
        ("http://a:8000/y", "http://a:8000/y"),
        ("https://a/y", "https://a/y"),
        ("https://a:8443/y", "https://a:8443/y"),
    ],
)
def test_redirects_within_the_service(location: str, url: str) -> None:
    assert target(location) == url


@pytest.mark.parametrize(
    "location",
    ["http://b:8000/y", "//b/y", "https://b/y", "http://a:9000/y", "http://a/y", "ftp://a:8000/",
     "https://a.b/y", "http://a@b/y", "file:///etc/passwd"],
)  # fmt: skip
def test_redirects_elsewhere_are_refused(location: str) -> None:
    with pytest.raises(ApiError, match="its key must not go there") as error:
        target(location)
    assert error.value.code == "redirected"


def test_tls_is_not_given_up() -> None:
    with pytest.raises(ApiError, match="redirects to http://a,"):
        target("http://a/y", httpx.Request("GET", "https://a/v1/models"))


def test_the_host_header_is_that_of_the_target() -> None:
    response = httpx.Response(308, headers={"location": "https://a/y"})
    request = redirected(REQUEST, response)
    assert request.headers["host"] == "a"
    assert request.headers["authorization"] == "k"
    assert request.method == "POST"


@pytest.mark.parametrize(
    "location", ["http://a:b", "http://[::1", "http://xn--/", "/" + "a" * 70_000]
)
def test_a_location_that_is_no_url_is_a_bad_answer(location: str) -> None:
    with pytest.raises(ApiError, match="a valid location of its redirect"):
        target(location)
