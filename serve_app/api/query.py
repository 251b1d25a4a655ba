"""Parameters of the query, for routes that take few or none."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from serve_app.errors import InvalidRequest

_SHOWN_CHARS = 100  # of a name in an error


def check_query(request: Request, *names: str) -> None:
    """Refuse a parameter that is not among `names`, or is repeated. Raises InvalidRequest."""
    query = request.query_params
    for name in query:
        if name not in names:
            offered = f"takes {' and '.join(names)}" if names else "takes none"
            raise InvalidRequest(
                f"'{name[:_SHOWN_CHARS]}' is no parameter of this route's query, which {offered}",
                field=name[:_SHOWN_CHARS],
            )
        if len(query.getlist(name)) > 1:
            raise InvalidRequest(f"{name} is repeated in the query: send it once", field=name)


async def takes_declared_query(request: Request) -> None:
    """Refuse parameters that the route does not declare: a dependency of routes."""
    declared = request.scope["route"].dependant.query_params
    check_query(request, *(parameter.alias for parameter in declared))


def takes_query(*names: str) -> Callable[[Request], Awaitable[None]]:
    """Build a dependency of routes that take these parameters and no others."""

    async def check(request: Request) -> None:
        check_query(request, *names)

    return check
