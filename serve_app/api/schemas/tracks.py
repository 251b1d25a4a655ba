"""Finished tracks in JSON."""

from typing import Annotated

from pydantic import BaseModel, Field

from serve_app.track_fields import TrackReport


class Variation(TrackReport, frozen=True, protected_namespaces=()):
    """A finished track: its file, and its facts."""

    audio: Annotated[str, Field(description="The file, in base64.")]
    size_bytes: Annotated[int, Field(description="Length of the file, in bytes.")]
    sample_rate: Annotated[int, Field(exclude=True)]  # in Variations, of the files


class Variations(BaseModel):
    """Finished tracks, by ascending seed."""

    prompt: Annotated[str, Field(description="The prompt without surrounding whitespace.")]
    format: Annotated[str, Field(description="Format of the files.")]
    sample_rate: Annotated[int, Field(description="Sample rate of the files, in Hz.")]
    data: list[Variation]
