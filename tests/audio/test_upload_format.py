"""Every container and codec of the table in docs/api.md is read."""

import io

import av
import numpy as np
import pytest

from serve_app.audio.decoder import Decoder, Samples
from serve_app.errors import InvalidAudio
from tests.audio.files import file_of, muxed, tone

_PCM = ("pcm_s16le", "pcm_f32le")
# FFmpeg's muxer -> encoders of the codecs that the table lists for the container.
CODECS = {
    "wav": ("pcm_u8", "pcm_s32le", *_PCM, "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "flac",
            "libmp3lame"),
    "w64": (*_PCM, "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav", "flac", "libmp3lame"),
    "aiff": ("pcm_s16be", "pcm_s24be", "pcm_f32be", "pcm_alaw", "pcm_mulaw"),
    "flac": ("flac",),
    "mp3": ("libmp3lame",),
    "adts": ("aac",),
    "ogg": ("libopus", "flac"),
    "mp4": ("aac", "alac", "libmp3lame", "libopus", "flac", *_PCM),
    "ipod": ("aac", "alac"),
    "mov": ("aac", "alac", "libmp3lame", "pcm_s16be", *_PCM),
    "3gp": ("aac",),
    "webm": ("libopus",),
    "matroska": ("libopus", "aac", "alac", "libmp3lame", "flac", *_PCM),
}  # fmt: skip
RATES = {"libopus": 48_000}


def decoded(content: bytes) -> tuple[Samples, int]:
    decoder = Decoder(content, 30.0, lambda rate: rate)
    samples = np.concatenate(list(decoder.parts()), axis=1)
    return samples, decoder.sample_rate


def check_tone(content: bytes) -> None:
    """The file has 2 s of a tone of 330 Hz."""
    samples, rate = decoded(content)
    length = samples.shape[1]
    assert length / rate == pytest.approx(2.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(samples[0]))
    assert np.argmax(spectrum) * rate / length == pytest.approx(330, abs=2)


@pytest.mark.parametrize(
    ("muxer", "codec"), [(muxer, codec) for muxer, codecs in CODECS.items() for codec in codecs]
)
def test_it_is_read(muxer: str, codec: str) -> None:
    rate = RATES.get(codec, 44_100)
    check_tone(muxed(tone(2.0, rate=rate), rate, muxer, codec))


@pytest.mark.parametrize("muxer", ["webm", "matroska"])
def test_vorbis_is_read_from_matroska(muxer: str) -> None:
    file = io.BytesIO()
    source = av.open(io.BytesIO(file_of("vorbis")), "r")
    with source, av.open(file, "w", format=muxer) as made:
        stream = made.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    check_tone(file.getvalue())


@pytest.mark.parametrize("muxer", ["wav", "w64"])
def test_aac_without_frames_of_its_own_is_refused(muxer: str) -> None:
    content = muxed(tone(2.0, rate=44_100), 44_100, muxer, "aac")
    with pytest.raises(InvalidAudio, match=rf"codec \(aac\) is not supported in {muxer}"):
        decoded(content)


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(InvalidAudio, match="The audio is empty: send a wav, "):
        decoded(b"")
    with pytest.raises(InvalidAudio, match="The audio is empty"):
        decoded(bytes(5000))
