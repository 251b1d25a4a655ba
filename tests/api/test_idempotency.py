"""Idempotency keys, in quotes and bare; digests of bodies that mean the same."""

import pytest
from starlette.datastructures import Headers

from serve_app.api.idempotency import body_sha256, idempotency_key
from serve_app.errors import InvalidRequest

UUID = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (f'"{UUID}"', UUID),
        (f'  "{UUID}" ', UUID),
        (f'"{UUID}"; q=1', UUID),
        (UUID, UUID),
        (r'"a \"b\" \\ c"', r'a "b" \ c'),
        ("a,b=c;d", "a,b=c;d"),
        ("a" * 255, "a" * 255),
    ],
)
def test_keys_are_read(header: str, key: str) -> None:
    assert idempotency_key(Headers({"idempotency-key": header})) == key


@pytest.mark.parametrize(
    "header", ["", '""', "a" * 256, '"' + "a" * 256 + '"', "a b", '"a', r'"a\b"', "\u00e9", "a\tb"]
)
def test_others_are_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match="Idempotency-Key"):
        idempotency_key(Headers({"idempotency-key": header}))


def test_a_request_may_have_none() -> None:
    assert idempotency_key(Headers({})) is None


def test_bodies_that_mean_the_same_have_one_digest() -> None:
    body = {"prompt": "a", "duration_s": 8, "metadata": {"b": [1.5, 2.0]}}
    same = {"metadata": {"b": [1.5, 2]}, "duration_s": 8.0, "prompt": "a"}
    assert body_sha256(body) == body_sha256(same)
    assert len(body_sha256(body)) == 64
    for other in ({**body, "prompt": "b"}, {**body, "seed": None}, {**body, "duration_s": 8.5}):
        assert body_sha256(other) != body_sha256(body)
