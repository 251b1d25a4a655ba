"""The published models by short names, and their licence."""

_MUSICGEN = "facebook/musicgen-"
_AUDIOGEN = "facebook/audiogen-"
NON_COMMERCIAL = "CC-BY-NC-4.0"
# Owner and beginning of the names of Meta's repositories whose weights have that licence.
_FAMILIES = (_MUSICGEN, _AUDIOGEN, "facebook/magnet-", "facebook/audio-magnet-")
# Short names of the published models that are served.
SIZES = (
    "small", "medium", "large", "melody", "melody-large", "stereo-small", "stereo-medium",
    "stereo-large", "stereo-melody", "stereo-melody-large", "audiogen",
)  # fmt: skip
_AUDIOGEN_NAMES = ("audiogen", "audiogen-medium")


def is_non_commercial(source: str) -> bool:
    """Whether `source` is a hub id of weights under CC-BY-NC-4.0. The hub ignores the case of ids."""
    return source.lower().startswith(_FAMILIES)


def hub_id(name: str) -> str:
    """Complete the short name of a published model: `small`, `melody`, `audiogen`, ..."""
    is_audiogen = name.partition("@")[0] in _AUDIOGEN_NAMES
    if not is_audiogen:
        return f"{_MUSICGEN}{name}"
    _, separator, revision = name.partition("@")
    return f"{_AUDIOGEN}medium{separator}{revision}"
