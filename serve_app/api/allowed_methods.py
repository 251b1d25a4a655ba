"""Methods of a resource: the header `Allow` of a 405 (RFC 9110, section 15.5.6)."""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from serve_app.api.paths import has_own_head

UNSERVED = "unserved"  # tag of routes that refuse a method by 404
_OF_FILES = ["GET", "HEAD"]  # of the pages; they have no route each


class AllowedMethods:
    """The methods of every path, of all routes that share it."""

    def __init__(self, routes: Iterable[BaseRoute] = ()) -> None:
        self._routes = [route for route in routes if isinstance(route, APIRoute)]

    def at(self, path: str) -> list[str]:
        """List the methods of a path, which is below the application's `route_prefix`."""
        routes = [route for route in self._routes if route.path_regex.match(path)]
        if not routes:
            return _OF_FILES
        served = (route.methods or () for route in routes if UNSERVED not in route.tags)
        methods = set[str]().union(*served)
        if "GET" in methods and not has_own_head(path):
            methods.add("HEAD")
        return sorted(methods)
