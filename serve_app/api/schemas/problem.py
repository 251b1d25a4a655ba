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


class ErrorObject(BaseModel):
    """The same error as OpenAI's clients read it."""

    message: Annotated[str, Field(description="What is wrong with this request: `detail`.")]
    type: Annotated[str, Field(description="Kind of the error, by its status.")]
    param: Annotated[str | None, Field(description="Name of the first field at fault.")]
    code: Annotated[str, Field(description="The problem's `code`.")]


class ApiProblem(Problem):
    """An error as problem details, with the object that OpenAI's clients read."""

    error: Annotated[ErrorObject, Field(description="The error for OpenAI's clients.")]


class ElevenLabsDetail(BaseModel):
    """An error as ElevenLabs' clients show it."""

    type: Annotated[str, Field(description="Kind of the error, by its status.")]
    code: Annotated[str, Field(description="Stable machine-readable name of the error.")]
    message: Annotated[str, Field(description="What is wrong with this request.")]
    status: Annotated[str, Field(description="Older name of `code`.")]
    request_id: Annotated[str | None, Field(description="The request's id, as in the log.")]
    param: Annotated[str | None, Field(description="Name of the first field at fault.")]


class ElevenLabsProblem(BaseModel):
    """Body of an error on ElevenLabs' routes."""

    detail: Annotated[ElevenLabsDetail, Field(description="The error.")]
