"""The files that can be asked for, and what each of them can hold."""

from dataclasses import dataclass, field
from enum import StrEnum

from serve_app.errors import InvalidRequest

SAMPLE_RATES = (8_000, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_MP3_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_MP3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


class FileFormat(StrEnum):
    """opus comes in an Ogg file; pcm is the bare samples, little-endian, channels interleaved."""

    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    OPUS = "opus"
    PCM = "pcm"

    @property
    def media_type(self) -> str:
        return {"mp3": "audio/mpeg", "opus": "audio/ogg"}.get(self.value, f"audio/{self.value}")

    @property
    def extension(self) -> str:
        return "ogg" if self is FileFormat.OPUS else self.value


class SampleFormat(StrEnum):
    """How a sample is stored, in files that leave a choice."""

    INT16 = "int16"
    FLOAT32 = "float32"


@dataclass(frozen=True)
class Encoding:
    """How PCM becomes a file.

    sample_rate: in Hz; None: the model's own, or 48 kHz where the format does not have that. bitrate_kbps: of mp3 and
    opus; None: 192 and 128. tags: what the file says of itself, in formats that can. Raises InvalidRequest.
    """

    file_format: FileFormat = FileFormat.WAV
    sample_rate: int | None = None
    sample_format: SampleFormat = SampleFormat.INT16
    bitrate_kbps: int | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name, rates = self.file_format, self._sample_rates()
        if self.sample_rate is not None and self.sample_rate not in rates:
            raise InvalidRequest(
                f"sample_rate of {name} must be one of {', '.join(map(str, rates))}"
            )
        if self.sample_format is SampleFormat.FLOAT32 and name not in (
            FileFormat.WAV,
            FileFormat.PCM,
        ):
            raise InvalidRequest(f"{name} has no float32 samples; wav and pcm do")
        if self.bitrate_kbps is None:
            return
        if name not in (FileFormat.MP3, FileFormat.OPUS):
            raise InvalidRequest(f"{name} has no bitrate_kbps; mp3 and opus do")
        if name is FileFormat.MP3 and self.bitrate_kbps not in _MP3_KBPS:
            raise InvalidRequest(
                f"bitrate_kbps of mp3 must be one of {', '.join(map(str, _MP3_KBPS))}"
            )
        if not 6 <= self.bitrate_kbps <= 320:
            raise InvalidRequest("bitrate_kbps of opus must be between 6 and 320")

    def rate_from(self, sample_rate: int) -> int:
        """The file's sample rate, of audio that has `sample_rate`."""
        wanted = self.sample_rate or sample_rate
        return wanted if self.sample_rate or wanted in self._sample_rates() else 48_000

    def _sample_rates(self) -> tuple[int, ...]:
        return {FileFormat.MP3: _MP3_RATES, FileFormat.OPUS: _OPUS_RATES}.get(
            self.file_format, SAMPLE_RATES
        )
