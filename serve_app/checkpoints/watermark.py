"""The watermark that a configuration asks for."""

from pathlib import Path

import torch

from serve_app.checkpoints.audioseal import load_generator
from serve_app.config.watermark import WatermarkConfig
from serve_app.errors import ConfigError
from serve_app.models.audioseal.watermark import Watermark


def load_watermark(
    config: WatermarkConfig, sample_rate: int, device: torch.device
) -> Watermark | None:
    """Load the watermark for tracks at `sample_rate` in Hz; None if none is configured.

    Raises CheckpointError for its file, and ConfigError for a sample rate that cannot have one.
    """
    if config.generator_file is None:
        return None
    generator = load_generator(Path(config.generator_file).expanduser(), device)
    try:
        return Watermark(generator, sample_rate, config.message, config.max_level_db)
    except ValueError as error:
        raise ConfigError(
            f"The model's audio cannot be watermarked: {error}. Remove "
            "provenance.watermark.generator_file, or serve another model."
        ) from error
