"""Choice between a page for people and an answer for programs."""

from starlette.datastructures import Headers
from starlette.types import Scope


def wants_page(scope: Scope) -> bool:
    """Test that a browser asks for a page: it accepts text/html."""
    return "text/html" in Headers(scope=scope).get("accept", "")
