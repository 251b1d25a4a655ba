"""Fine-tunes are models of their own, with what they do not say from their model."""

from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.config.app import AppConfig, ModelConfig
from serve_app.deployments.ingress import card_of, fine_tunes

LOADING = {"model_id": "small", "model_source": "facebook/musicgen-small", "revision": "main"}


def config(*checkpoints: dict[str, Any], **options: Any) -> AppConfig:
    model = {
        "model_loading_config": LOADING,
        "aliases": ["s"],
        "price_per_hour": 1.0,
        "fine_tunes": {"checkpoints": checkpoints},
    }
    return AppConfig.model_validate({"models": [model]} | options)


def served(*checkpoints: dict[str, Any], **options: Any) -> list[ModelConfig]:
    return config(*checkpoints, **options).served


def test_an_adapter_goes_onto_the_models_own_weights() -> None:
    small, lofi = served({"model_id": "lofi", "adapter_source": "me/lofi"})
    assert small.model_id == "small"
    assert lofi.model_id == "lofi"
    assert lofi.model_loading_config.pinned_source == "facebook/musicgen-small@main"
    assert lofi.public_source == "facebook/musicgen-small + me/lofi"
    assert lofi.weights_license == "CC-BY-NC-4.0"
    assert (lofi.aliases, lofi.price_per_hour) == ((), 1.0)


def test_a_whole_checkpoint_has_its_own_source() -> None:
    own = {
        "model_id": "big-band", "model_source": "me/band", "aliases": ["band"],
        "license": "mit", "fallbacks": ["small"], "max_queued_audio_s": 60,
    }  # fmt: skip
    card = card_of(served(own)[1])
    assert (card.model_id, card.source, card.license) == ("big-band", "me/band", "mit")
    assert (card.aliases, card.fallbacks, card.max_queued_audio_s) == (("band",), ("small",), 60)
    assert served(own)[1].model_loading_config.pinned_source == "me/band"


def test_all_names_are_those_of_one_service() -> None:
    given = config({"model_id": "lofi", "adapter_source": "me/lofi"}, default_model="lofi")
    assert given.default_model == "lofi"
    assert given.adapters == ["me/lofi"]
    assert fine_tunes(given) == {"lofi"}


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ({"model_id": "s", "adapter_source": "me/a"}, "must be unique, but"),
        ({"model_id": "a"}, "neither model_source nor adapter_source"),
        ({"model_id": "a", "adapter_source": "me/a", "revision": "x"}, "are not .*|not a hub id"),
        ({"model_id": "a", "adapter_source": "me/a", "fallbacks": ["x"]}, "fallbacks of 'a'"),
        ({"model_id": "a", "adapter_source": "me/a", "typo": 1}, "typo"),
    ],
)
def test_what_cannot_be_is_refused(checkpoint: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(checkpoint)
