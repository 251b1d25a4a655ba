"""The watermark of generated audio."""

from pydantic import Field, PositiveFloat, model_validator

from serve_app.config.closed_model import ClosedModel


class WatermarkConfig(ClosedModel):
    """AudioSeal's watermark in the samples themselves, which survives other formats and most edits."""

    generator_file: str | None = None
    """AudioSeal's generator, converted by `musicgen provenance convert-watermark`, on every node that
    runs a model. With it all audio is marked, streams too; a replica that cannot load it does not
    start. Default: no watermark."""
    detector_file: str | None = None
    """AudioSeal's detector, converted likewise, on the ingress's nodes: `/v1/audio/provenance` then
    looks for the watermark. Default: no detection."""
    message: int = Field(default=0, ge=0, le=65_535)
    """The 16 bits that the watermark carries, as a number: of the operator, say. Whoever has the
    detector can read them."""
    max_level_db: float = Field(default=-30.0, ge=-60.0, le=-20.0)
    """Highest level of the watermark, in dB relative to its audio, in each 40 ms. A lower one is less
    audible and detected less often."""
    detection_threshold: PositiveFloat = Field(default=0.5, le=1.0)
    """Part of a file's samples that must seem marked for the answer `detected`."""

    @model_validator(mode="after")
    def _message_has_a_generator(self) -> "WatermarkConfig":
        if self.message and self.generator_file is None:
            raise ValueError(
                f"message is {self.message}, but without generator_file nothing is marked: give both"
            )
        return self
