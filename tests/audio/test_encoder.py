"""Files: the right bytes, whole and streamed, clipped, in both channel counts."""

import io
from itertools import pairwise

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.id3 import ID3
from numpy.typing import NDArray

from serve_app.audio.encoder import Encoder, encode
from serve_app.audio.file_format import (
    FLAC,
    FORMATS,
    MP3,
    OPUS,
    PCM,
    WAV,
    Encoding,
    FormatSpec,
    SampleFormat,
)
from serve_app.errors import InvalidRequest
from serve_app.marks import tags_of

RATE = 32_000
LOSSLESS = (WAV, FLAC, PCM)


def melody(channels: int = 1, seconds: float = 2.0) -> NDArray[np.float32]:
    t = np.arange(int(seconds * RATE)) / RATE
    tones = [0.4 * np.sin(2 * np.pi * f * t) * (1 + np.sin(5 * t)) for f in (300, 440)[:channels]]
    return np.stack(tones).astype(np.float32)


def streamed(samples: NDArray[np.float32], encoding: Encoding, part: int = 7000) -> list[bytes]:
    encoder = Encoder(encoding, RATE, len(samples), streamed=True)
    parts = [
        encoder.add(samples[:, start : start + part]) for start in range(0, samples.shape[1], part)
    ]
    return [*parts, encoder.finish()]


def decode(content: bytes, encoding: Encoding, channels: int) -> NDArray[np.float32]:
    """float32 [channels, n], as FFmpeg reads it."""
    muxer = {SampleFormat.FLOAT32: "f32le", SampleFormat.INT16: "s16le"}[encoding.sample_format]
    options = {"sample_rate": str(RATE), "ch_layout": "mono" if channels == 1 else "stereo"}
    bare = encoding.file_format is PCM
    with av.open(
        io.BytesIO(content), "r", muxer if bare else None, options if bare else {}
    ) as container:
        resampler = av.AudioResampler("fltp")
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("file_format", LOSSLESS)
def test_a_lossless_file_holds_the_samples(file_format: FormatSpec, channels: int) -> None:
    samples, encoding = melody(channels), Encoding(file_format)
    read = decode(encode(samples, RATE, encoding), encoding, channels)
    np.testing.assert_allclose(read, samples, atol=1 / 32_768)
    again = decode(b"".join(streamed(samples, encoding)), encoding, channels)
    assert np.array_equal(again, read)


@pytest.mark.parametrize("file_format", [WAV, PCM])
def test_floats_are_kept_to_the_bit(file_format: FormatSpec) -> None:
    samples, encoding = melody(), Encoding(file_format, sample_format=SampleFormat.FLOAT32)
    assert np.array_equal(decode(encode(samples, RATE, encoding), encoding, 1), samples)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("file_format", "rate"), [(MP3, RATE), (OPUS, 48_000)])
def test_a_lossy_file_sounds_alike_whole_and_streamed(
    file_format: FormatSpec, rate: int, channels: int
) -> None:
    samples, encoding = melody(channels), Encoding(file_format)
    whole = decode(encode(samples, RATE, encoding), encoding, channels)
    parts = decode(b"".join(streamed(samples, encoding)), encoding, channels)
    assert abs(whole.shape[1] - samples.shape[1] * rate // RATE) < 0.1 * rate
    delay = (
        parts.shape[1] - whole.shape[1]
    )  # a streamed mp3 cannot say what its encoder put before the music
    tail = slice(whole.shape[1] // 2, whole.shape[1] - 2000)
    shifts = range(max(0, delay - 2000), delay + 2000)
    error = min(
        np.abs(parts[:, tail.start + s : tail.stop + s] - whole[:, tail]).max() for s in shifts
    )
    assert error < 0.02


@pytest.mark.parametrize("file_format", FORMATS.values(), ids=str)
def test_parts_come_while_the_music_is_made(file_format: FormatSpec) -> None:
    parts = streamed(melody(seconds=4.0), Encoding(file_format), part=RATE // 2)
    sizes = np.cumsum([len(part) for part in parts])
    assert sizes[1] > 0
    assert all(later > earlier for earlier, later in pairwise(sizes[1:-1]))
    assert sizes[3] > 0.25 * sizes[-1], "half the music, and at least a quarter of the bytes"


def test_wav_has_the_size_that_callers_know() -> None:
    """30 s of 16-bit mono at 32 kHz behind a header of 44 bytes."""
    assert len(encode(np.zeros((1, 30 * RATE), np.float32), RATE, Encoding())) == 1_920_044


def test_a_streamed_wav_is_open_ended() -> None:
    header = b"".join(streamed(melody(), Encoding()))[:44]
    assert header[:4] == b"RIFF"
    assert header[4:8] == header[40:44] == b"\xff\xff\xff\xff"


def test_loud_samples_are_clipped_not_wrapped() -> None:
    content = encode(np.array([[2.0, -2.0, 0.0]], np.float32), RATE, Encoding())
    read, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    assert read.tolist() == [32767, -32768, 0]


@pytest.mark.parametrize(
    ("file_format", "rate", "expected"),
    [
        (WAV, 44_100, 44_100),
        (MP3, 22_050, 22_050),
        (OPUS, None, 48_000),
        (OPUS, 24_000, 48_000),  # Ogg Opus always decodes at 48 kHz
    ],
)
def test_sample_rates(file_format: FormatSpec, rate: int | None, expected: int) -> None:
    content = encode(melody(), RATE, Encoding(file_format, rate))
    with av.open(io.BytesIO(content), "r") as container:
        assert container.streams.audio[0].rate == expected
        assert float(container.duration or 0) / av.time_base == pytest.approx(2.0, abs=0.1)


def tags_by_ffmpeg(content: bytes) -> dict[str, str]:
    with av.open(io.BytesIO(content)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    return {name.lower(): value for name, value in found.items()}


def tags_by_mutagen(content: bytes) -> dict[str, str]:
    tags = mutagen.File(io.BytesIO(content)).tags
    if not isinstance(tags, ID3):
        found = {name.lower(): value for name, [value] in tags.items()}
        return found | {"comment": found.pop("description")}
    named = {frame.desc: str(frame) for frame in tags.getall("TXXX")}
    return named | {"title": str(tags["TIT2"]), "comment": str(tags["COMM::eng"])}


@pytest.mark.parametrize("prompt", ["lofi beat", "爵士 🎷 Größe", "a\n\0\x1b=b", "🎷" * 3000])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("file_format", [WAV, FLAC, MP3, OPUS], ids=str)
def test_marks_are_read_by_others_and_change_no_sample(
    file_format: FormatSpec, is_streamed: bool, prompt: str
) -> None:
    tags = tags_of("small (facebook/musicgen-small)", "CC-BY-NC-4.0", 7, prompt)
    plain = Encoding(file_format)
    marked = Encoding(file_format, tags=tags)

    def written(encoding: Encoding) -> bytes:
        samples = melody(seconds=0.5)
        parts = streamed(samples, encoding) if is_streamed else [encode(samples, RATE, encoding)]
        return b"".join(parts)

    content = written(marked)
    assert tags_by_ffmpeg(content).items() >= tags.items()
    assert tags_by_mutagen(content) == tags
    assert np.array_equal(decode(content, marked, 1), decode(written(plain), plain, 1))
    assert content == written(marked), "nothing differs between two calls"


@pytest.mark.parametrize("file_format", FORMATS.values(), ids=str)
def test_files_without_tags_have_none(file_format: FormatSpec) -> None:
    content = encode(melody(), RATE, Encoding(file_format))
    assert b"musicgen" not in content
    assert b"trainedAlgorithmicMedia" not in content
    if file_format is not PCM:
        assert tags_by_ffmpeg(content).keys() <= {"encoder"}


def test_bitrates() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 4 * RATE)).astype(np.float32)
    for file_format in (MP3, OPUS):
        small, large = (
            len(encode(samples, RATE, Encoding(file_format, bitrate_kbps=kbps)))
            for kbps in (64, 256)
        )
        assert small * 8 / 4 == pytest.approx(64_000, rel=0.15)
        assert large > 3 * small


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"file_format": OPUS, "sample_rate": 44_100},
            "sample_rate of opus must be one of 8000,",
        ),
        ({"file_format": WAV, "sample_rate": 1}, "sample_rate of wav must be one of"),
        (
            {"file_format": MP3, "bitrate_kbps": 100},
            "bitrate_kbps of mp3 must be one of 32,",
        ),
        (
            {"file_format": OPUS, "bitrate_kbps": 5},
            "bitrate_kbps of opus must be between 6 and 320",
        ),
        (
            {"file_format": FLAC, "bitrate_kbps": 128},
            "bitrate_kbps does not apply to flac: leave it out, or use mp3 or opus",
        ),
        (
            {"file_format": MP3, "sample_format": SampleFormat.FLOAT32},
            "sample_format 'float32' is not available in mp3: use wav or pcm",
        ),
    ],
)
def test_options_that_a_format_lacks_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Encoding(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("channels", "highest"), [(1, 256), (2, 320)])
def test_the_bit_rate_of_opus_is_bounded_by_channels(channels: int, highest: int) -> None:
    samples = melody(channels, seconds=0.5)
    assert encode(samples, RATE, Encoding(OPUS, bitrate_kbps=highest))[:4] == b"OggS"
    if channels == 1:
        message = "bitrate_kbps of opus must be between 6 and 256 for one channel"
        for streams in (False, True):
            with pytest.raises(InvalidRequest, match=message):
                Encoder(Encoding(OPUS, bitrate_kbps=257), RATE, channels, streamed=streams)
