"""The facts that an answer tells of a finished track: the one table of them.

Response headers (`x-musicgen-*`), JSON answers, the `done` event, their OpenAPI documentation and
the client's Track are derived from the fields of `TrackHeaders` and `TrackReport`. A new fact needs
a field here and its value in `TrackReport.of`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self
from urllib.parse import quote, unquote

from pydantic import BaseModel, Field

from serve_app.types import ModelCard, Timings

_PREFIX = "x-musicgen-"
_EXTENDED = "UTF-8''"  # marks a percent-encoded value (RFC 8187)


@dataclass(frozen=True, slots=True)
class Decimals:
    """Number of decimals that a header shows; without it the header has Python's shortest form."""

    count: int


class TrackHeaders(BaseModel, frozen=True, protected_namespaces=()):
    """The facts that are told in headers, too: a header for each field."""

    model: Annotated[str, Field(description="Id of the model that made the track.")]
    seed: Annotated[int, Field(description="The seed that reproduces the track.")]
    license: Annotated[str, Field(description="Licence of the model's weights.")]
    sample_rate: Annotated[int, Field(description="The model's sample rate, in Hz.")]
    duration_s: Annotated[
        float, Field(description="Duration of the track, in seconds."), Decimals(3)
    ]
    queue_s: Annotated[
        float,
        Field(description="Seconds the request waited in the replica for a slot."),
        Decimals(3),
    ]
    time_to_first_audio_s: Annotated[
        float,
        Field(description="Seconds from arrival in the replica to the first audio."),
        Decimals(3),
    ]
    generation_s: Annotated[
        float, Field(description="Seconds from the slot to the last sample."), Decimals(3)
    ]
    real_time_factor: Annotated[
        float, Field(description="Seconds of music per second of generation."), Decimals(2)
    ]
    compute_s: Annotated[
        float,
        Field(
            description="Replica compute time attributed to this request, in seconds "
            "(shared batches are split evenly)."
        ),
        Decimals(3),
    ]
    cost_usd: Annotated[
        float | None,
        Field(description="Cost in US dollars; absent or null when the price is unknown."),
    ]


class TrackReport(TrackHeaders, frozen=True, protected_namespaces=()):
    """All facts of a finished track, as JSON tells them."""

    text_encoder_s: Annotated[float, Field(description="Seconds of text encoding.")]
    first_step_s: Annotated[float, Field(description="Seconds of the first decoding step.")]
    codec_s: Annotated[
        float,
        Field(description="Seconds of decoding codes to audio, which runs parallel to the steps."),
    ]

    @classmethod
    def of(
        cls, model: ModelCard, seed: int, sample_rate: int, duration_s: float, timings: Timings
    ) -> Self:
        """Compute the facts of one track. duration_s: seconds of audio."""
        return cls(
            model=model.model_id,
            seed=seed,
            license=model.license,
            sample_rate=sample_rate,
            duration_s=duration_s,
            real_time_factor=round(duration_s / max(timings.generation_s, 1e-9), 2),
            cost_usd=model.cost_usd(timings),
            **asdict(timings),
        )


def header_name(field: str) -> str:
    """Name of the header that tells `field`."""
    return _PREFIX + field.replace("_", "-")


HEADERS = {
    header_name(name): field.description or "" for name, field in TrackHeaders.model_fields.items()
}


def to_headers(facts: Mapping[str, object]) -> dict[str, str]:
    """Render the facts that have a header and a value. facts: values by the names of fields."""
    return {
        header_name(name): _render(name, facts[name])
        for name in TrackHeaders.model_fields
        if facts.get(name) is not None
    }


def from_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Collect the facts that an answer's headers tell, as text, by the names of fields."""
    return {
        name: _parse(headers[header_name(name)])
        for name in TrackHeaders.model_fields
        if header_name(name) in headers
    }


def ordered(
    facts: Mapping[str, Any], first: Sequence[str] = (), last: Sequence[str] = ()
) -> dict[str, Any]:
    """Order the keys of JSON: `first`, the others as they come, `last`."""
    middle = [name for name in facts if name not in first and name not in last]
    return {name: facts[name] for name in (*first, *middle, *last)}


def _render(name: str, value: object) -> str:
    for annotation in TrackHeaders.model_fields[name].metadata:
        if isinstance(annotation, Decimals):
            return f"{value:.{annotation.count}f}"
    text = str(value)
    return text if text.isascii() and text.isprintable() else _EXTENDED + quote(text, safe="")


def _parse(value: str) -> str:
    return unquote(value.removeprefix(_EXTENDED)) if value.startswith(_EXTENDED) else value
