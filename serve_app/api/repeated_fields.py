"""Fields that a form or a query names more than once."""

from typing import Any

from starlette.datastructures import ImmutableMultiDict

from serve_app.errors import InvalidRequest


def refuse_repeated(fields: ImmutableMultiDict[str, Any], holder: str) -> None:
    """Raise InvalidRequest if a field is repeated. holder: `form` or `query`."""
    repeated = sorted({name for name in fields if len(fields.getlist(name)) > 1})
    if repeated:
        raise InvalidRequest(
            f"{', '.join(repeated)} is repeated: send each field of the {holder} once"
        )
