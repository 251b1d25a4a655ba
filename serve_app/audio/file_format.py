"""The table of audio file formats, and the choice of one with its options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from serve_app.audio.bitrates import Bitrates
from serve_app.errors import InvalidRequest

SAMPLE_RATES = (8_000, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


class SampleFormat(StrEnum):
    """Storage of one sample, in formats that offer a choice."""

    INT16 = "int16"
    FLOAT32 = "float32"


class Tagging(StrEnum):
    """Place of a file's tags."""

    NONE = "none"
    RIFF = "riff"  # chunks of a wav file
    ID3 = "id3"  # in front of the audio
    VORBIS = "vorbis"  # Vorbis comments, which FFmpeg writes


@dataclass(frozen=True, slots=True)
class Codec:
    """FFmpeg's names of the muxer and the codec of one kind of file."""

    muxer: str
    name: str


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """One audio file format.

    name: as requests name it; codecs: by the sample formats that it offers; sample_rates: in Hz;
    default_sample_rate: in Hz, for audio at a rate that the format lacks;
    bitrates: None in lossless formats; tagging: place of the tags;
    holds_manifest: whether a whole file can hold a signed manifest (C2PA);
    streamable: whether a player can start before the file is complete;
    sized: whether a streamed file's length follows from that of its audio;
    stream_options, stream_codec_options: FFmpeg's, of the muxer and codec of a streamed file;
    suffixes: of file names, the usual one first.
    """

    name: str
    description: str
    media_type: str
    suffixes: tuple[str, ...]
    codecs: Mapping[SampleFormat, Codec]
    sample_rates: tuple[int, ...] = SAMPLE_RATES
    default_sample_rate: int = 48_000
    bitrates: Bitrates | None = None
    tagging: Tagging = Tagging.NONE
    holds_manifest: bool = False
    streamable: bool = True
    sized: bool = False
    stream_options: Mapping[str, str] = field(default_factory=dict)
    stream_codec_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The usual suffix of file names, without a dot."""
        return self.suffixes[0]

    def __str__(self) -> str:
        return self.name


WAV = FormatSpec(
    name="wav",
    description="uncompressed",
    media_type="audio/wav",
    suffixes=("wav",),
    codecs={  # behind the header that WavHeader builds
        SampleFormat.INT16: Codec("s16le", "pcm_s16le"),
        SampleFormat.FLOAT32: Codec("f32le", "pcm_f32le"),
    },
    tagging=Tagging.RIFF,
    holds_manifest=True,
    sized=True,
)
FLAC = FormatSpec(
    name="flac",
    description="lossless compression",
    media_type="audio/flac",
    suffixes=("flac",),
    codecs={SampleFormat.INT16: Codec("flac", "flac")},
    tagging=Tagging.VORBIS,
    holds_manifest=True,
)
MP3 = FormatSpec(
    name="mp3",
    description="MPEG-1 layer III",
    media_type="audio/mpeg",
    suffixes=("mp3",),
    codecs={SampleFormat.INT16: Codec("mp3", "libmp3lame")},
    sample_rates=(16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    bitrates=Bitrates(
        192, 32, 320, (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    ),
    tagging=Tagging.ID3,
    holds_manifest=True,
    sized=True,  # constant bit rate
    stream_options={"write_xing": "0"},
    stream_codec_options={"compression_level": "7"},  # LAME's quality: a fourth less CPU, as near
)
OPUS = FormatSpec(
    name="opus",
    description="Opus in an Ogg container",
    media_type="audio/ogg",
    suffixes=("ogg", "opus"),
    codecs={SampleFormat.INT16: Codec("ogg", "libopus")},
    sample_rates=(8_000, 12_000, 16_000, 24_000, 48_000),
    bitrates=Bitrates(128, 6, 320, high_per_channel=256),
    tagging=Tagging.VORBIS,
    stream_options={"page_duration": "100000"},  # microseconds of audio before a player can start
    stream_codec_options={"compression_level": "5"},  # complexity: a fifth less CPU than with 10
)
PCM = FormatSpec(
    name="pcm",
    description="bare little-endian samples, channels interleaved",
    media_type="audio/pcm",
    suffixes=("pcm",),
    codecs={
        SampleFormat.INT16: Codec("s16le", "pcm_s16le"),
        SampleFormat.FLOAT32: Codec("f32le", "pcm_f32le"),
    },
    sized=True,
)
FORMATS = {spec.name: spec for spec in (WAV, FLAC, MP3, OPUS, PCM)}


def format_of_suffix(suffix: str) -> FormatSpec | None:
    """Find the format that files with this suffix have.

    suffix: with or without its dot, in any case.
    """
    wanted = suffix.lower().removeprefix(".")
    return next((spec for spec in FORMATS.values() if wanted in spec.suffixes), None)


def names_with(sample_format: SampleFormat) -> list[str]:
    """List the formats that offer `sample_format`."""
    return [spec.name for spec in FORMATS.values() if sample_format in spec.codecs]


def names_with_manifests() -> list[str]:
    """List the formats whose files can hold a signed manifest."""
    return [spec.name for spec in FORMATS.values() if spec.holds_manifest]


def names_with_bitrates() -> list[str]:
    """List the lossy formats."""
    return [spec.name for spec in FORMATS.values() if spec.bitrates is not None]


@dataclass(frozen=True)
class Encoding:
    """A format and its options. Raises InvalidRequest for options that the format lacks.

    sample_rate: in Hz; None: the audio's own if the format has it, else the format's default;
    bitrate_kbps: of a lossy format; None: its default; tags: written where the format has tags.
    """

    file_format: FormatSpec = WAV
    sample_rate: int | None = None
    sample_format: SampleFormat = SampleFormat.INT16
    bitrate_kbps: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_sample_rate()
        self._check_sample_format()
        self._check_bitrate()

    @property
    def codec(self) -> Codec:
        return self.file_format.codecs[self.sample_format]

    @property
    def bit_rate(self) -> int | None:
        """Bits per second; None in lossless formats."""
        bitrates = self.file_format.bitrates
        return None if bitrates is None else 1000 * (self.bitrate_kbps or bitrates.default)

    def rate_from(self, sample_rate: int) -> int:
        """The file's sample rate, for audio at `sample_rate`, both in Hz."""
        if self.sample_rate is not None:
            return self.sample_rate
        spec = self.file_format
        return sample_rate if sample_rate in spec.sample_rates else spec.default_sample_rate

    @property
    def needs_two_channels(self) -> bool:
        """Whether the bit rate exceeds that of a file with one channel."""
        bitrates = self.file_format.bitrates
        kbps = self.bitrate_kbps
        return bitrates is not None and kbps is not None and kbps > bitrates.highest(1)

    def check_channels(self, channels: int) -> None:
        """Raise InvalidRequest for a bit rate that a file with so many channels cannot have."""
        bitrates = self.file_format.bitrates
        if bitrates is None or self.bitrate_kbps is None:
            return
        highest = bitrates.highest(channels)
        if self.bitrate_kbps > highest:
            subject = "one channel" if channels == 1 else f"{channels} channels"
            raise InvalidRequest(
                f"bitrate_kbps of {self.file_format} must be between {bitrates.low} and {highest} "
                f"for {subject}",
                field="bitrate_kbps",
            )

    def _check_sample_rate(self) -> None:
        spec = self.file_format
        if self.sample_rate is not None and self.sample_rate not in spec.sample_rates:
            rates = ", ".join(map(str, spec.sample_rates))
            raise InvalidRequest(
                f"sample_rate of {spec} must be one of {rates}", field="sample_rate"
            )

    def _check_sample_format(self) -> None:
        wanted = self.sample_format
        if wanted not in self.file_format.codecs:
            raise InvalidRequest(
                f"sample_format '{wanted}' is not available in {self.file_format}: "
                f"use {' or '.join(names_with(wanted))}",
                field="sample_format",
            )

    def _check_bitrate(self) -> None:
        spec = self.file_format
        if self.bitrate_kbps is None:
            return
        if spec.bitrates is None:
            raise InvalidRequest(
                f"bitrate_kbps does not apply to {spec}: "
                f"leave it out, or use {' or '.join(names_with_bitrates())}",
                field="bitrate_kbps",
            )
        if self.bitrate_kbps not in spec.bitrates:
            raise InvalidRequest(
                f"bitrate_kbps of {spec} must be {spec.bitrates}", field="bitrate_kbps"
            )
