"""Served models in JSON."""

from dataclasses import replace

import pytest

from serve_app.api.schemas.models import Capabilities, Model
from serve_app.model_status import LoadedModel, ModelCard
from tests.fakes import SMALL


def test_a_model_without_a_replica_has_no_properties_of_its_checkpoint() -> None:
    assert Model.of(SMALL, None, 1_700_000_000).model_dump() == {
        "id": "small",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "facebook",
        "aliases": ["tiny"],
        "source": "facebook/musicgen-small",
        "license": "CC-BY-NC-4.0",
        "loaded": False,
        "sample_rate": None,
        "content": None,
        "channels": None,
        "max_duration_s": None,
        "capabilities": {
            "text": True,
            "melody": None,
            "stereo": None,
            "continuation": True,
            "max_duration_s": None,
            "decoders": ["encodec"],
        },
    }


def test_a_loaded_model_tells_them() -> None:
    loaded = LoadedModel(32_000, 2, 50.0, 120.0, 300, "cuda", "fp16")
    model = Model.of(SMALL, loaded, 0)
    assert model.loaded
    assert model.sample_rate == 32_000
    assert model.content == "music"
    assert model.channels == 2
    assert model.max_duration_s == 120.0
    assert model.capabilities == Capabilities(melody=False, stereo=True, max_duration_s=120.0)


def test_capabilities_outlive_the_replica_that_told_them() -> None:
    told = LoadedModel(32_000, 2, 50.0, 120.0, 300, "cuda", "fp16", melody=True)
    model = Model.of(SMALL, None, 0, told)
    assert (model.loaded, model.channels) == (False, None)
    assert model.capabilities == Capabilities(melody=True, stereo=True, max_duration_s=120.0)


def test_the_owner_of_other_weights_is_unknown() -> None:
    card = ModelCard("mine", "my-folder", (), "unknown")
    assert Model.of(card, None, 0).owned_by == "unknown"


def test_sounds_are_told_from_music() -> None:
    loaded = LoadedModel(16_000, 1, 50.0, 30.0, 300, "cuda", "fp16", content="audio")
    assert Model.of(SMALL, loaded, 0).content == "audio"


@pytest.mark.parametrize(
    "source", ["facebook/musicgen-small + me/punk", "my-model + me/punk", "embedded:musicgen-nano"]
)
def test_a_merge_with_adapters_has_no_owner(source: str) -> None:
    assert Model.of(replace(SMALL, source=source), None, 0).owned_by == "unknown"
