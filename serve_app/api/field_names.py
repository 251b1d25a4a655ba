"""Names that the fields of this project's API have in a dialect."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from serve_app.errors import InvalidRequest


@contextmanager
def named_as(names: Mapping[str, str]) -> Iterator[None]:
    """Name the field of an InvalidRequest as the dialect does.

    names: the dialect's names, by this project's; a field without one keeps its name.
    """
    try:
        yield
    except InvalidRequest as error:
        if error.field is not None:
            error.field = names.get(error.field, error.field)
        raise
