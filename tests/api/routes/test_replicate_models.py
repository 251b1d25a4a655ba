"""Models, versions and files in the form of Replicate's clients."""

import hashlib
from typing import Any

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.api.replicate_models import MUSICGEN, name_of
from serve_app.config.api import ApiConfig
from tests.fakes import SMALL, FakeGenerator
from tests.jobs.rooms import JobRoom, client_of

PUBLISHED = "671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb"


@pytest.mark.parametrize("name", [MUSICGEN, "facebook/musicgen-small", "anyone/large"])
async def test_models_are_described(jobs_client: httpx.AsyncClient, name: str) -> None:
    model = (await jobs_client.get(f"/v1/models/{name}")).json()
    assert f"{model['owner']}/{model['name']}" == name
    assert model["url"] == f"http://test/v1/models/{name}"
    version = model["latest_version"]
    again = await jobs_client.get(f"/v1/models/{name}/versions/{version['id']}")
    assert again.json() == version
    listed = (await jobs_client.get(f"/v1/models/{name}/versions")).json()
    assert listed == {"results": [version], "next": None, "previous": None}
    schemas = version["openapi_schema"]["components"]["schemas"]
    assert (schemas["Output"]["type"], schemas["Output"]["format"]) == ("string", "uri")
    assert schemas["Input"]["properties"]["duration"]["default"] == 8
    assert schemas["Input"]["properties"]["duration"]["minimum"] == 1
    assert schemas["Input"]["properties"]["seed"]["minimum"] == -1


async def test_a_repository_is_described_to_the_clients_of_openai_too(
    jobs_client: httpx.AsyncClient,
) -> None:
    """Their `models.retrieve("facebook/musicgen-small")` comes here."""
    model = (await jobs_client.get("/v1/models/facebook/musicgen-small")).json()
    assert (model["id"], model["object"], model["owned_by"]) == ("small", "model", "facebook")
    assert model["created"] > 0
    escaped = await jobs_client.get("/v1/models/facebook%2Fmusicgen-small")
    assert escaped.json() == model
    own = (await jobs_client.get("/v1/models/small")).json()
    assert own.items() <= (model | {"created": own["created"]}).items()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("GET", "/v1/files/x/download"),
        ("POST", "/v1/models"),
        ("QUERY", "/v1/models"),
        ("DELETE", "/v1/models/acme/small"),
        ("POST", "/v1/models/acme/small/versions/x/trainings"),
        ("GET", "/v1/trainings"),
        ("POST", "/v1/trainings/x/cancel"),
        ("GET", "/v1/hardware"),
        ("GET", "/v1/collections/music"),
        ("GET", "/v1/deployments/acme/small"),
        ("GET", "/v1/account"),
    ],
)
async def test_other_routes_tell_what_is_served(
    jobs_client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await jobs_client.request(method, path)
    assert response.status_code == 404
    assert f"{method} {path} is not served here" in response.json()["detail"]
    assert "predictions" in response.json()["detail"]


@pytest.mark.parametrize("with_replicate", [True, False])
async def test_models_need_no_jobs(with_replicate: bool) -> None:
    """Where the dialect is off, none of its routes is there."""
    fake = FakeGenerator()
    config = ApiConfig(dialects=("replicate",) if with_replicate else ("openai",))
    app = create_api(fake, fake, [SMALL], None, config, jobs=lambda *_: "Name a database.")
    async with client_of(app) as client:
        model = await client.get("/v1/models/facebook/musicgen-small")
        assert model.status_code == (200 if with_replicate else 404)
        for method, path in (
            ("GET", "/v1/predictions"),
            ("POST", "/v1/files"),
            ("POST", "/v1/models/meta/musicgen/predictions"),
            ("POST", "/v1/deployments/acme/small/predictions"),
        ):
            response = await client.request(method, path)
            assert response.status_code == (503 if with_replicate else 404), path
        listed = await client.get("/v1/files")
        assert listed.status_code == 404
        assert (await client.get("/v1/jobs")).status_code == 503


async def test_published_versions_are_known(jobs_client: httpx.AsyncClient) -> None:
    """Programs name them."""
    for version in (PUBLISHED, "7a76a8258b23fae65c5a22debb8841d1d7e816b75c2f24218cd2bd8573787906"):
        response = await jobs_client.get(f"/v1/models/{MUSICGEN}/versions/{version}")
        assert (response.status_code, response.json()["id"]) == (200, version)


@pytest.mark.parametrize("path", ["meta/llama", "meta/llama/versions", f"{MUSICGEN}/versions/abc"])
async def test_others_are_not_found(jobs_client: httpx.AsyncClient, path: str) -> None:
    response = await jobs_client.get(f"/v1/models/{path}")
    assert (response.status_code, response.json()["code"]) == (404, "model_not_found")


async def test_the_list_of_models_is_both_openais_and_replicates(
    jobs_client: httpx.AsyncClient,
) -> None:
    answer = (await jobs_client.get("/v1/models")).json()
    assert [model["id"] for model in answer["data"]] == ["small", "large"]
    names = [f"{model['owner']}/{model['name']}" for model in answer["results"]]
    assert names == [MUSICGEN, "facebook/musicgen-small", "facebook/musicgen-large"]
    assert (answer["next"], answer["previous"]) == (None, None)


def test_a_model_without_a_repository_has_an_owner() -> None:
    for source in ("embedded:musicgen-nano", "folder", "a/b/c"):
        card = type(SMALL)("nano", source, (), "x")
        assert name_of(card) == "musicgen-serve/nano"


async def test_a_file_is_kept_for_its_owner(jobs_client: httpx.AsyncClient) -> None:
    response = await jobs_client.post(
        "/v1/files",
        files={
            "content": ("beat.wav", b"0123456789", "audio/wav"),
            "metadata": ("blob", b'{"a": 1}', "application/json"),
        },
    )
    assert response.status_code == 201
    file = response.json()
    assert set(file) == {
        "id", "name", "content_type", "size", "etag", "checksums", "metadata", "created_at",
        "expires_at", "urls",
    }  # fmt: skip
    assert (file["name"], file["content_type"], file["size"]) == ("beat.wav", "audio/wav", 10)
    assert file["checksums"] == {"sha256": hashlib.sha256(b"0123456789").hexdigest()}
    assert file["metadata"] == {"a": 1}
    path = f"/v1/files/{file['id']}"
    assert (await jobs_client.get(path)).json()["id"] == file["id"]
    assert (await jobs_client.get(file["urls"]["get"])).content == b"0123456789"
    part = await jobs_client.get(f"{path}/content", headers={"range": "bytes=2-3"})
    assert (part.status_code, part.content) == (206, b"23")
    head = await jobs_client.head(f"{path}/content", headers={"range": "bytes=2-3"})
    assert (head.status_code, head.headers["content-length"]) == (200, "10")
    assert (await jobs_client.get(file["urls"]["get"] + "x")).status_code == 401
    assert (await jobs_client.delete(path)).status_code == 204
    for call in (
        jobs_client.get(path),
        jobs_client.delete(path),
        jobs_client.get(f"{path}/content"),
    ):
        response = await call
        assert (response.status_code, response.json()["code"]) == (404, "file_not_found")


@pytest.mark.parametrize(
    ("files", "data", "named"),
    [
        ({}, {"content": "text"}, "content"),
        ({"file": ("a", b"a")}, {"purpose": "batch"}, "content"),
        ({"content": ("a", b"a")}, {"metadata": "["}, "metadata"),
        ({"content": ("a", b"a")}, {"metadata": "[]"}, "metadata"),
        ({"content": ("a", b"a")}, {"metadata": '{"a": "' + "x" * 4096 + '"}'}, "metadata"),
        ({"content": ("a", b"a")}, {"metadata": '{"a": NaN}'}, "metadata"),
        ({"content": ("a", b"a")}, {"metadata": '{"a": [1e999]}'}, "metadata"),
        ({"content": ("a", b"a")}, {"metadata": "{}", "metadata[a]": "1"}, "metadata"),
        ({"content": ("a", b"a")}, {"metadata[a]": "1", "metadata[a][b]": "1"}, "metadata[a][b]"),
        ({"content": ("a", b"a")}, {"metadata": '{"a": "\\u0000"}'}, "metadata"),
        ({"content": ("a", b"a")}, {"filename": "x" * 256}, "filename"),
        ({"content": ("a", b"a"), "filename": ("a", b"a")}, {}, "filename"),
        ({"content": ("a", b"a")}, {"type": "wav"}, "type"),
        ({"content": ("a", b"a")}, {"purpose": "batch"}, "purpose"),
        ([("content", ("a", b"a")), ("content", ("b", b"b"))], {}, "content is repeated"),
        ({"content": ("a", b"a")}, {"type": ["a/b", "a/c"]}, "type is repeated"),
    ],
)
async def test_other_forms_are_refused_by_name(
    jobs_client: httpx.AsyncClient,
    files: Any,
    data: dict[str, Any],
    named: str,
) -> None:
    response = await jobs_client.post("/v1/files", files=files, data=data)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert named in response.json()["detail"]


async def test_an_uploaded_page_is_inert_at_the_services_origin(
    jobs_client: httpx.AsyncClient,
) -> None:
    """Its link, which needs no key, would else run scripts beside the service's own page."""
    page = ("a.html", b"<script>fetch('/v1/jobs')</script>", "text/html")
    uploaded = await jobs_client.post("/v1/files", files={"content": page})
    for headers in ({}, {"range": "bytes=0-9"}):
        answer = await jobs_client.get(uploaded.json()["urls"]["get"], headers=headers)
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["content-security-policy"] == "sandbox"


async def test_names_and_types_of_version_2_are_used(jobs_client: httpx.AsyncClient) -> None:
    """It sends metadata as fields of their own."""
    response = await jobs_client.post(
        "/v1/files",
        files={"content": ("upload", b"a", "application/octet-stream")},
        data={
            "filename": "beat.wav", "type": "audio/wav", "metadata[customer][id]": "7",
            "metadata[tags][]": ["a", "b"],
        },
    )  # fmt: skip
    file = response.json()
    assert (file["name"], file["content_type"]) == ("beat.wav", "audio/wav")
    assert file["metadata"] == {"customer": {"id": "7"}, "tags": ["a", "b"]}


async def test_a_file_expires(
    jobs_client: httpx.AsyncClient, room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.jobs.stored_files.KEPT_S", -1.0)
    file = (await jobs_client.post("/v1/files", files={"content": ("a", b"a")})).json()
    assert (await jobs_client.get(f"/v1/files/{file['id']}")).status_code == 404
    keys = await room.store.sweep(3600.0)
    assert f"files/{file['id']}" in keys, "its erasure was noted with it"
