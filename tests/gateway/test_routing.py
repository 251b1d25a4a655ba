"""Names to models."""

from dataclasses import replace

import pytest

from serve_app.errors import ModelNotFound
from serve_app.gateway.routing import ModelRouter
from serve_app.model_status import ModelCard
from tests.fakes import LARGE, SMALL


@pytest.fixture
def router() -> ModelRouter:
    return ModelRouter([SMALL, LARGE], "large")


@pytest.mark.parametrize(
    ("name", "card"), [("small", SMALL), ("tiny", SMALL), ("large", LARGE), (None, LARGE)]
)
def test_names_aliases_and_the_default(
    router: ModelRouter, name: str | None, card: ModelCard
) -> None:
    assert router.resolve(name) is card


def test_the_first_model_is_the_default() -> None:
    assert ModelRouter([SMALL, LARGE]).default is SMALL


def test_an_unknown_name_is_answered_with_the_served_ones(router: ModelRouter) -> None:
    message = r"Model 'huge' is not served here. Served models: small, tiny, large\."
    with pytest.raises(ModelNotFound, match=message):
        router.resolve("huge")


@pytest.mark.parametrize(
    ("repository", "card"),
    [
        ("facebook/musicgen-small", SMALL),
        ("facebook/musicgen-large", LARGE),
        ("me/musicgen-tiny", SMALL),
        ("x/small", SMALL),
    ],
)
def test_repositories(router: ModelRouter, repository: str, card: ModelCard) -> None:
    assert router.resolve_repository(repository) is card


def test_an_unknown_repository(router: ModelRouter) -> None:
    with pytest.raises(ModelNotFound):
        router.resolve_repository("facebook/bark")


def test_fallbacks_follow_their_model(router: ModelRouter) -> None:
    assert router.with_fallbacks(LARGE) == (LARGE, SMALL)
    assert router.with_fallbacks(SMALL) == (SMALL,)


def test_a_base_is_found_beside_its_merges() -> None:
    merged = replace(SMALL, model_id="punk", aliases=(), source=f"{SMALL.source} + me/punk")
    for cards in ([SMALL, merged], [merged, SMALL]):
        router = ModelRouter(cards)
        assert router.resolve_repository(SMALL.source) is SMALL
        assert router.resolve("punk") is merged
    assert (SMALL.is_repository, merged.is_repository) == (True, False)


def test_an_id_may_begin_like_a_repository() -> None:
    """A folder `musicgen-mine`: the model list of Replicate's clients finds it by its id."""
    mine = ModelCard("musicgen-mine", "mine", (), "unknown")
    assert ModelRouter([mine, SMALL]).resolve_repository("me/musicgen-mine") is mine
