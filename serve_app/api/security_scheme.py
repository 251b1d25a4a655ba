"""The scheme of the API keys in the OpenAPI document."""

from fastapi import FastAPI

from serve_app.api.middleware.authentication import is_open

_NAME = "apiKey"
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key of this service. A service without keys needs none.",
}


def add_security_scheme(app: FastAPI) -> None:
    """Name the bearer scheme on every operation that `Authentication` guards.

    Called after all routes are added: the document is generated here, and FastAPI keeps it.
    """
    document = app.openapi()
    document.setdefault("components", {})["securitySchemes"] = {_NAME: _SCHEME}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not is_open(method.upper(), path):
                operation["security"] = [{_NAME: []}]
