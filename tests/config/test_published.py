"""Short names of published models."""

import pytest

from serve_app.config.published import SIZES, hub_id, is_non_commercial


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("small", "facebook/musicgen-small"),
        ("stereo-melody-large@v1", "facebook/musicgen-stereo-melody-large@v1"),
        ("audiogen", "facebook/audiogen-medium"),
        ("audiogen-medium", "facebook/audiogen-medium"),
        ("audiogen@a1b2", "facebook/audiogen-medium@a1b2"),
    ],
)
def test_a_short_name_is_completed(name: str, repository: str) -> None:
    assert hub_id(name) == repository


def test_every_size_is_for_non_commercial_use() -> None:
    assert all(is_non_commercial(hub_id(size)) for size in SIZES)
    assert is_non_commercial("Facebook/MusicGen-melody@main")
    assert not is_non_commercial("me/musicgen-small")
