"""Repeated fields of forms and queries."""

import pytest
from starlette.datastructures import QueryParams

from serve_app.api.repeated_fields import refuse_repeated
from serve_app.errors import InvalidRequest


def test_repeated_fields_are_refused_by_name() -> None:
    refuse_repeated(QueryParams("a=1&b=2"), "query")
    with pytest.raises(InvalidRequest, match="a, b is repeated: send each field of the query once"):
        refuse_repeated(QueryParams("b=1&a=1&b=1&c=1&a=2"), "query")
