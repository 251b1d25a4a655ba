"""Conversion of a file, and the reading of forms whose fields may be empty."""

from collections.abc import Mapping

from pydantic import model_validator

from serve_app.audio.file_options import FileOptions


def without_empty_texts(fields: object) -> object:
    """Leave out the empty fields of a form or a query: clients send them for options left blank.

    The prompt stays, so that its own rule answers for it.
    """
    if not isinstance(fields, Mapping):
        return fields
    return {name: value for name, value in fields.items() if value != "" or name == "prompt"}


class Conversion(FileOptions, frozen=True):
    """An audio file to convert to another format. An empty field counts as absent."""

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_fields(cls, fields: object) -> object:
        return without_empty_texts(fields)
