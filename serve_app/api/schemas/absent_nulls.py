"""Bodies in which a null is an absent field, as many clients send it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, model_validator


def without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


class AbsentNulls(BaseModel, frozen=True):
    """A body whose nulls count as absent."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        return without_nulls(values) if isinstance(values, Mapping) else values
