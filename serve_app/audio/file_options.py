"""Options of an audio file that requests name, one table for HTTP routes and jobs."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from serve_app.audio.file_format import FORMATS, Encoding, FormatSpec, SampleFormat, names_with
from serve_app.audio.mastering import PEAK_DB, RMS_DB, Mastering, Normalization

if TYPE_CHECKING:
    FormatName = str
    SampleFormatName = str
    NormalizationName = str
else:  # derived from the tables, which a type checker cannot evaluate
    FormatName = Literal[tuple(FORMATS)]
    SampleFormatName = Literal[tuple(one.value for one in SampleFormat)]
    NormalizationName = Literal[tuple(one.value for one in Normalization)]

FORMATS_TEXT = "; ".join(f"{spec.name}: {spec.description}" for spec in FORMATS.values())
_FLOAT32_FORMATS = " and ".join(names_with(SampleFormat.FLOAT32))
_BITRATES_TEXT = ", ".join(
    f"{spec.name} (default: {spec.bitrates.default})"
    for spec in FORMATS.values()
    if spec.bitrates is not None
)


class FileOptions(BaseModel, frozen=True, extra="forbid"):
    """Options of the audio file to answer with."""

    response_format: Annotated[
        FormatName, Field(description=f"Format of the file. {FORMATS_TEXT}.")
    ] = "wav"
    sample_rate: Annotated[
        int | None,
        Field(
            description="In Hz; when absent, the model's own, or 48000 if the format lacks that."
        ),
    ] = None
    sample_format: Annotated[
        SampleFormatName,
        Field(description=f"Storage of a sample; float32 in {_FLOAT32_FORMATS}."),
    ] = "int16"
    bitrate_kbps: Annotated[
        int | None, Field(description=f"Bit rate in kbit/s, of {_BITRATES_TEXT}.")
    ] = None
    normalization: Annotated[
        NormalizationName,
        Field(
            description="Gain. none; clip: to full scale; "
            f"peak: peak to {PEAK_DB:g} dBFS; rms: root mean square to {RMS_DB:g} dBFS; "
            f"loudness: to loudness_lufs. No gain raises a peak above {PEAK_DB:g} dBFS."
        ),
    ] = "none"
    loudness_lufs: Annotated[
        float,
        Field(
            ge=-40.0,
            le=-5.0,
            description="Integrated loudness for `loudness`, in LUFS (ITU-R BS.1770-4).",
        ),
    ] = -14.0
    fade_in_s: Annotated[
        float, Field(ge=0.0, le=30.0, description="Fade at the beginning, in seconds.")
    ] = 0.0
    fade_out_s: Annotated[
        float, Field(ge=0.0, le=30.0, description="Fade at the end, in seconds.")
    ] = 0.0

    @property
    def file_format(self) -> FormatSpec:
        return FORMATS[self.response_format]

    @property
    def sample_bits(self) -> Literal[16, 32]:
        """Bits of the model's samples that the file keeps: 32 if a gain, a fade or a resampled
        lossless file would carry their rounding on."""
        is_gained = self.normalization not in ("none", "clip")
        is_faded = self.fade_in_s > 0 or self.fade_out_s > 0
        is_resampled = self.sample_rate is not None and self.file_format.bitrates is None
        is_float = self.sample_format != "int16"
        return 32 if is_gained or is_faded or is_resampled or is_float else 16

    def encoding(self) -> Encoding:
        """Collect the options of the encoder.

        Raises InvalidRequest for options that the format lacks.
        """
        return Encoding(
            self.file_format, self.sample_rate, SampleFormat(self.sample_format), self.bitrate_kbps
        )

    def mastering(self) -> Mastering:
        """Collect the options of mastering."""
        return Mastering(
            Normalization(self.normalization), self.loudness_lufs, self.fade_in_s, self.fade_out_s
        )
