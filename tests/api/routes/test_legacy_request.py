"""Requests of the replaced servers: their checks are those that OpenAPI documents."""

from typing import Any

import pytest

from serve_app.api.routes.legacy_request import BODY_SCHEMA, DECODERS, LegacyRequest
from serve_app.config.api import ApiConfig
from serve_app.errors import DecoderUnavailable, InvalidRequest
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from tests.fakes import LARGE, SMALL, FakeGenerator, RecordingObserver

PROPERTIES: dict[str, Any] = BODY_SCHEMA["properties"]  # type: ignore[assignment]


@pytest.fixture
def service() -> GenerationService:
    generator = FakeGenerator()
    router = ModelRouter([SMALL, LARGE], "small")
    readiness = Readiness(generator)
    return GenerationService(generator, router, readiness, ApiConfig(), RecordingObserver())


def test_absent_fields_have_the_documented_defaults(service: GenerationService) -> None:
    legacy = LegacyRequest.parse({"prompt": " a "}, service, ("model",))
    assert legacy == LegacyRequest("a", 30, 1.0, SMALL, "default")
    for field in ("duration", "temperature", "decoder"):
        assert getattr(legacy, field) == PROPERTIES[field]["default"]


@pytest.mark.parametrize("field", ["duration", "temperature"])
def test_bounds_are_the_documented_ones(service: GenerationService, field: str) -> None:
    low = PROPERTIES[field]["minimum"]
    high = PROPERTIES[field]["maximum"]
    for value in (low, high):
        legacy = LegacyRequest.parse({"prompt": "a", field: value}, service, ())
        assert getattr(legacy, field) == value
    for value in (low - 0.01, high + 0.01):
        with pytest.raises(InvalidRequest, match=f"{field.title()} must be between"):
            LegacyRequest.parse({"prompt": "a", field: value}, service, ())


def test_a_duration_stays_as_it_was_written(service: GenerationService) -> None:
    assert type(LegacyRequest.parse({"prompt": "a", "duration": 2}, service, ()).duration) is int


def test_the_first_field_that_names_a_model_wins(service: GenerationService) -> None:
    body = {"prompt": "a", "model": None, "model_size": "large"}
    assert LegacyRequest.parse(body, service, ("model", "model_size")).model is LARGE
    assert LegacyRequest.parse(body, service, ("model",)).model is SMALL
    body["model"] = "tiny"
    assert LegacyRequest.parse(body, service, ("model", "model_size")).model is SMALL


def test_a_decoder_without_a_model_is_named(service: GenerationService) -> None:
    assert PROPERTIES["decoder"]["enum"] == list(DECODERS)
    with pytest.raises(DecoderUnavailable, match=r"none of the models .*small, tiny, large"):
        LegacyRequest.parse({"prompt": "a", "decoder": DECODERS[1]}, service, ())
