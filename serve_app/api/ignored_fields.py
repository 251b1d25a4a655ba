"""Fields that are accepted though they have no effect: each answer names those of its request."""

from collections.abc import Iterable

IGNORED_HEADER = "x-musicgen-ignored"


def ignored_header(fields: Iterable[str]) -> dict[str, str]:
    """Build the header that names the fields without effect; empty without any."""
    names = ", ".join(sorted(fields))
    return {IGNORED_HEADER: names} if names else {}
