"""Files of AudioSeal's weights in this package's form: safetensors with a few facts in the header.

Without torch, so that a check before a start may use it. Loading checks the tensors themselves.
"""

import json
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from serve_app.checkpoints.faults import unreadable_named
from serve_app.errors import CheckpointError

_MOST_HEADER_BYTES = 2**20
_CONVERT = (
    "Convert AudioSeal's published file once: `musicgen provenance convert-watermark FILE OUT`."
)


class Network(StrEnum):
    """The two networks of AudioSeal."""

    GENERATOR = "generator"
    DETECTOR = "detector"


class WatermarkFacts(BaseModel):
    """Facts in the header of a converted file. causal: of the variant that was trained for streams."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    network: Network
    causal: bool

    def to_metadata(self) -> dict[str, str]:
        return {"network": self.network, "causal": str(self.causal).lower()}


def read_facts(file: Path, network: Network) -> WatermarkFacts:
    """Read the facts of a file, whose network must be `network`. Raises CheckpointError."""
    facts = _facts(file)
    if facts.network is not network:
        raise CheckpointError(
            f"{file}: holds AudioSeal's {facts.network}, but its {network} is needed. Name the "
            f"file that was converted from {network}_base.pth or {network}_streaming.pth."
        )
    return facts


def _facts(file: Path) -> WatermarkFacts:
    if not file.is_file():
        raise CheckpointError(f"{file}: there is no such file. {_CONVERT}")
    with unreadable_named(file.parent):
        header = _header(file)
    try:
        facts = WatermarkFacts.model_validate(json.loads(header)["__metadata__"])
    except (ValueError, LookupError, TypeError, RecursionError, ValidationError) as error:
        raise CheckpointError(
            f"{file}: is no converted file of AudioSeal's weights. {_CONVERT}"
        ) from error
    return facts


def _header(file: Path) -> bytes:
    """The JSON of safetensors' header, as far as its length is plausible."""
    with file.open("rb") as content:
        size = int.from_bytes(content.read(8), "little")
        return content.read(size) if size <= _MOST_HEADER_BYTES else b""
