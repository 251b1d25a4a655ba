"""Errors in JSON."""

from typing import Annotated

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """An error as problem details (RFC 9457)."""

    type: str
    title: Annotated[str, Field(description="Meaning of the code.")]
    status: Annotated[int, Field(description="HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong with this request.")]
    code: Annotated[str, Field(description="Stable machine-readable name of the error.")]
