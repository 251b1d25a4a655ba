"""Melody conditioning in the Hugging Face format: `musicgen_melody` and its extractor of chroma."""

import json
from pathlib import Path
from typing import Any

from serve_app.checkpoints.faults import faults_named
from serve_app.checkpoints.fields import LEAST_SAMPLE_RATE, MOST_CHROMA, MOST_FFT_BITS, Fields
from serve_app.errors import CheckpointError
from serve_app.models.chroma import PUBLISHED, MelodyConfig

_EXTRACTOR = "preprocessor_config.json"
_PROCESSOR = "processor_config.json"  # has the extractor in a section, as transformers 5 saves it
_KIND = "MusicgenMelodyFeatureExtractor"
_AGAIN = (
    "Copy the file that was saved with the model, or remove it if the model is a published one."
)


def melody_config(folder: Path, config: Fields, hidden_size: int) -> MelodyConfig:
    """Translate config.json's values of the melody, and the options of the extractor of chroma.

    Without a file of the extractor its options are the published ones.
    Raises CheckpointError naming the first option that is not supported.
    """
    extractor = _extractor(folder)
    num_chroma = config.integer("num_chroma", PUBLISHED.num_chroma, at_most=MOST_CHROMA)
    fft_size = extractor.integer(
        "n_fft", PUBLISHED.fft_size, at_least=4, at_most=1 << MOST_FFT_BITS
    )
    extractor.require("feature_extractor_type", _KIND, _KIND)
    extractor.require("hop_length", fft_size // 4, fft_size // 4)
    for name in ("num_chroma", "feature_size"):
        extractor.require(name, num_chroma, num_chroma)
    return MelodyConfig(
        num_chroma=num_chroma,
        chroma_length=config.integer("chroma_length", PUBLISHED.chroma_length, at_most=MOST_CHROMA),
        sample_rate=extractor.integer(
            "sampling_rate", PUBLISHED.sample_rate, at_least=LEAST_SAMPLE_RATE
        ),
        fft_size=fft_size,
        projected=num_chroma != hidden_size,
    )


def _extractor(folder: Path) -> Fields:
    """Options of the extractor of chroma; of two files the extractor's own counts."""
    values = _read(folder / _EXTRACTOR)
    if values is not None:
        return Fields(folder / _EXTRACTOR, "", values.get)
    processor = _read(folder / _PROCESSOR) or {}
    values = processor.get("feature_extractor", {})
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder / _PROCESSOR}: feature_extractor is no object. {_AGAIN}")
    return Fields(folder / _PROCESSOR, "feature_extractor", values.get)


def _read(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    with faults_named(file, "not readable JSON", _AGAIN):
        values = json.loads(file.read_bytes())
        if not isinstance(values, dict):
            raise TypeError("it holds no object")
    return values
