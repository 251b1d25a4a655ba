"""Additions to the OpenAPI document: the scheme of the API keys, the tables of the web page."""

from typing import Any

from fastapi import FastAPI

from serve_app.api.middleware.authentication import is_open
from serve_app.audio.file_format import FORMATS
from serve_app.types import SamplingParams

_NAME = "apiKey"
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key of this service, also as `Authorization: Key` or `xi-api-key`. "
    "A service without keys needs none.",
}


def complete_document(app: FastAPI) -> None:
    """Extend the OpenAPI document, which FastAPI generates when it is first asked for, and keeps.

    Call it after all routes are added.
    """
    generate = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            _extend(generate())
        return generate()

    app.openapi = complete  # type: ignore[method-assign]


def _extend(document: dict[str, Any]) -> None:
    _add_security_scheme(document)
    document["x-sampling-parameters"] = list(SamplingParams.model_fields)
    document["x-file-extensions"] = {name: spec.suffix for name, spec in FORMATS.items()}


def _add_security_scheme(document: dict[str, Any]) -> None:
    """Name the bearer scheme on every operation that `Authentication` guards."""
    document.setdefault("components", {})["securitySchemes"] = {_NAME: _SCHEME}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not is_open(method.upper(), path):
                operation["security"] = [{_NAME: []}]
