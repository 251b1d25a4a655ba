"""Finished tracks in JSON."""

from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic_core import to_json

from serve_app.track_fields import TrackReport, ordered

# Keys of a variation; between them stand the duration and the timings.
_FIRST = ("seed", "audio", "size_bytes")
_LAST = ("real_time_factor", "cost_usd", "model", "license", "digital_source_type", "resume")


class Variation(TrackReport, frozen=True, protected_namespaces=()):
    """A finished track: its file, and its facts."""

    audio: Annotated[str, Field(description="The file, in base64.")]
    size_bytes: Annotated[int, Field(description="Length of the file, in bytes.")]
    manifest: Annotated[
        str | None,
        Field(
            description="Signed C2PA manifest of the file (`.c2pa`), in base64; only for files that "
            "cannot hold one, where the service signs."
        ),
    ] = None
    sample_rate: Annotated[
        int,  # that of the files is in Variations
        Field(
            serialization_alias="model_sample_rate", description="The model's sample rate, in Hz."
        ),
    ]


class Variations(BaseModel):
    """Finished tracks, by ascending seed."""

    prompt: Annotated[str, Field(description="The prompt without surrounding whitespace.")]
    format: Annotated[str, Field(description="Format of the files.")]
    sample_rate: Annotated[int, Field(description="Sample rate of the files, in Hz.")]
    data: list[Variation]

    def to_json(self) -> bytes:
        """Serialize, with the keys of each variation in the contract's order."""
        answer = self.model_dump(by_alias=True)
        answer["data"] = [ordered(_given(facts), _FIRST, _LAST) for facts in answer["data"]]
        return to_json(answer)


def _given(facts: dict[str, Any]) -> dict[str, Any]:
    """Leave out the manifest of a file without one."""
    return {name: fact for name, fact in facts.items() if name != "manifest" or fact is not None}
