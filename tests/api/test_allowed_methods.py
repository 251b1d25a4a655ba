"""`Allow` of a 405: all methods of the path, whichever routes have them."""

import httpx
import pytest

from serve_app.api.allowed_methods import AllowedMethods

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "QUERY")


def is_served(answer: httpx.Response) -> bool:
    """Tell whether the route has the method, also where it refuses the request."""
    unserved = f"{answer.request.method} {answer.request.url.path} is not served here"
    return answer.status_code != 405 and unserved not in answer.text


async def test_it_names_the_methods_that_each_path_has(jobs_client: httpx.AsyncClient) -> None:
    document = (await jobs_client.get("/openapi.json")).json()
    assert len(document["paths"]) > 30
    for path in (*document["paths"], "/docs", "/openapi.json", "/static/main.js"):
        refused = await jobs_client.request("TRACE", path)
        assert refused.status_code == 405, path
        answers = {method: await jobs_client.request(method, path) for method in METHODS}
        served = {method for method, answer in answers.items() if is_served(answer)}
        if "GET" not in served:
            served.discard("HEAD")  # answered as GET, without the text by which it is refused
        assert refused.headers["allow"].split(", ") == sorted(served), path


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PATCH", "/", "GET, HEAD, POST"),
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("PUT", "/v1/jobs/1", "DELETE, GET, HEAD"),
        ("PUT", "/v1/jobs/1/audio", "GET, HEAD"),
        ("HEAD", "/v1/predictions/1/stream", "GET"),
        ("PUT", "/v1/models/acme/small", "GET, HEAD"),
        ("PUT", "/v1/trainings", ""),
        ("HEAD", "/generate", "POST"),
    ],
)
async def test_routes_that_share_a_path_are_named_together(
    jobs_client: httpx.AsyncClient, method: str, path: str, expected: str
) -> None:
    answer = await jobs_client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, expected)


def test_a_path_without_a_route_is_a_file_of_the_pages() -> None:
    assert AllowedMethods().at("/static/main.js") == ["GET", "HEAD"]
