"""Files that callers send: taken where all samples are there, else refused with the reason."""

import numpy as np
import pytest

from serve_app.audio.decoder import MAX_CHANNELS, Decoder
from serve_app.errors import InvalidAudio
from tests.audio.files import (
    KINDS,
    RATE,
    READ_ONLY,
    Samples,
    apev2,
    case,
    damaged,
    file_of,
    id3,
    lyrics3,
    pcm_file,
    tone,
    video,
    with_bytes,
)

RIFF_SIZES = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"]
NOISE = np.random.default_rng(2).integers(0, 256, 60_000, dtype=np.uint8).tobytes()


def decoded(content: bytes, max_duration_s: float = 30.0, rate: int | None = None) -> Samples:
    decoder = Decoder(content, max_duration_s, lambda own: rate or own)
    samples = np.concatenate(list(decoder.parts()), axis=1)
    assert decoder.sample_rate > 0
    return samples


def seconds(content: bytes, max_duration_s: float = 30.0) -> float:
    decoder = Decoder(content, max_duration_s, lambda rate: rate)
    length = sum(int(part.shape[1]) for part in decoder.parts())
    assert decoder.decoded_s == pytest.approx(length / decoder.sample_rate)
    return length / decoder.sample_rate


@pytest.mark.parametrize(
    ("name", "duration_s"),
    [
        ("riff_plus8.wav", 2.0),
        ("sox_pipe.wav", 2.0),
        ("rf64.wav", 2.0),
        ("id3.flac", 2.0),
        ("m.m4a", 2.0),
        ("m.webm", 2.0),
        ("mpeg25_8k.mp3", 3.1),
        ("trailing_junk.mp3", 3.0),
        ("vbr_silence_first_noxing.mp3", 8.0),
    ],
)
def test_files_of_public_bug_reports_are_taken(name: str, duration_s: float) -> None:
    assert seconds(case(name)) == pytest.approx(duration_s, abs=0.07)


def test_a_long_file_is_given_up_in_time() -> None:
    decoder = Decoder(case("long_silence.flac"), 30.0, lambda rate: rate)
    with pytest.raises(InvalidAudio, match="longer than the allowed 30 seconds"):
        list(decoder.parts())
    assert 30.0 < decoder.decoded_s < 30.2


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read(kind: str) -> None:
    rate = {"opus": 48_000}.get(kind) or (READ_ONLY[kind][2] if kind in READ_ONLY else RATE)
    samples = decoded(file_of(kind))
    assert samples.shape[1] / rate == pytest.approx(2.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(samples[0]))
    assert np.argmax(spectrum) * rate / samples.shape[1] == pytest.approx(330, abs=2)


@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
        ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "MS_ADPCM"), ("WAV", "IMA_ADPCM"),
        ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("AIFF", "PCM_24"), ("AIFF", "FLOAT"),
    ],
)  # fmt: skip
def test_encodings_of_pcm_are_read(file_format: str, subtype: str) -> None:
    samples = decoded(pcm_file(tone(1.0), RATE, file_format, subtype))
    assert np.corrcoef(samples[0, :RATE], tone(1.0)[0])[0, 1] > 0.99


def test_the_soundtrack_of_a_video_is_read() -> None:
    samples = decoded(video(tone(1.0, rate=44_100)))
    assert samples.shape[1] / 44_100 == pytest.approx(1.0, abs=0.05)
    with pytest.raises(InvalidAudio, match="no audio stream"):
        decoded(video(None))


@pytest.mark.parametrize("kind", ["mp3", "opus", "webm", "vorbis", "m4a"])
def test_an_encoders_delay_is_left_out(kind: str) -> None:
    """A click stays where it is."""
    rate = READ_ONLY[kind][2] if kind in READ_ONLY else RATE
    click = np.zeros((1, rate), np.float32)
    click[0, rate // 2] = 0.9
    samples = decoded(file_of(kind, click), rate=rate)
    assert abs(int(np.argmax(np.abs(samples[0]))) - rate // 2) <= 2


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus"])
def test_a_round_trip_keeps_the_length(kind: str) -> None:
    samples = tone(1.2345)
    assert decoded(file_of(kind, samples), rate=RATE).shape == samples.shape


@pytest.mark.parametrize("size", RIFF_SIZES)
@pytest.mark.parametrize("both", [False, True])
def test_sizes_in_a_wav_are_not_believed(size: bytes, both: bool) -> None:
    content = with_bytes(file_of("wav"), b"data", 4, size)
    if both:
        content = with_bytes(content, b"RIFF", 4, size)
    assert np.abs(decoded(content) - tone()).max() < 1e-4


def test_odd_data_needs_no_pad_byte() -> None:
    samples = tone(0.25)[:, :7999]
    content = pcm_file(samples, RATE, subtype="PCM_24")
    assert content[-1] == 0, "the pad byte"
    assert np.abs(decoded(content[:-1]) - samples).max() < 1e-4


@pytest.mark.parametrize(
    "junk",
    [bytes(3000), lyrics3(), apev2(), b"TAG" + b"x" * 125, NOISE[:3000], NOISE],
    ids=["zeros", "lyrics3", "apev2", "id3v1", "noise", "much noise"],
)
@pytest.mark.parametrize("kind", ["mp3", "flac", "wav", "opus", "aac"])
def test_junk_behind_the_end_is_left_out(kind: str, junk: bytes) -> None:
    content = file_of(kind)
    assert seconds(content + junk) == pytest.approx(seconds(content), abs=0.08)


@pytest.mark.parametrize(
    "tag",
    [b"", id3(), id3(60_000), apev2(), lyrics3()],
    ids=["none", "id3", "art", "ape", "lyrics"],
)
def test_joined_mp3_files_are_one(tag: bytes) -> None:
    file = file_of("mp3")
    assert seconds(file + tag + file) == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("kind", ["mp3", "flac"])
@pytest.mark.parametrize("start", [bytes(1000), id3(), bytes(100_000)], ids=["few", "id3", "many"])
def test_padding_and_tags_in_front_are_skipped(kind: str, start: bytes) -> None:
    assert seconds(start + file_of(kind)) == pytest.approx(2.0, abs=0.01)


def test_an_mp3_may_begin_in_the_middle() -> None:
    """A recorded radio stream begins anywhere, in the middle of a frame."""
    assert 1.0 < seconds(file_of("mp3")[10_000:]) < 2.0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("m4a", "alac")])
def test_a_file_shorter_than_its_header_claims_is_taken(kind: str) -> None:
    content = file_of(kind, tone(6.0) if kind not in READ_ONLY else None)
    whole_s = seconds(content)
    assert 0.2 * whole_s < seconds(content[: int(len(content) * 0.6)]) < 0.7 * whole_s


@pytest.mark.parametrize("kind", ["flac", "mp3", "opus", "vorbis", "m4a", "aac"])
def test_damage_before_the_end_is_refused_with_its_second(kind: str) -> None:
    rate = READ_ONLY[kind][2] if kind in READ_ONLY else RATE
    content = file_of(kind, tone(6.0, rate=rate))
    middle = len(content) // 2
    with pytest.raises(InvalidAudio, match=r"damaged at (2\.[0-9]|3\.[0-4]) seconds"):
        decoded(damaged(content, middle, 3000))


def test_lost_clusters_of_a_webm_are_refused() -> None:
    content = file_of("webm", tone(12.0, rate=48_000))
    middle = len(content) // 2
    with pytest.raises(InvalidAudio, match=r"damaged at [456]\.[0-9] seconds"):
        decoded(content[:middle] + bytes(30_000) + content[middle + 30_000 :])


@pytest.mark.parametrize("kind", ["flac", "mp3", "opus"])
def test_a_wholly_damaged_file_is_refused(kind: str) -> None:
    content = file_of(kind)
    with pytest.raises(InvalidAudio, match="audio"):
        decoded(content[:200] + bytes(byte ^ 0x5A for byte in content[200:]))


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"RIFF", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\nfile:///etc/passwd\n",
     b"ffconcat version 1.0\nfile /etc/passwd\n", b"\x00\x00\x00\x18ftypmp42", b"<svg/>",
     b"OggS" + bytes(60), b"fLaC" + bytes(60), b"ID3" + bytes(60), b"ID3\x04\x00\x00\x00\x00\x00\x0a",
     b"RIFF\x10\x00\x00\x00WAVE" + bytes(20), b"RIFF\xff\xff\xff\xffAVI LIST", bytes(5000),
     b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
     b"caff" + bytes(100), pcm_file(tone(0.1), RATE, "AU"), pcm_file(tone(0.1), RATE, "CAF")],
)  # fmt: skip
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidAudio, match="audio"):
        decoded(content)


def test_an_unknown_codec_is_refused() -> None:
    content = with_bytes(file_of("wav"), b"fmt ", 8, b"\x99\x99")
    with pytest.raises(InvalidAudio, match=r"codec \(unknown\) is not supported"):
        decoded(content)


def test_a_codec_outside_the_list_is_refused() -> None:
    with pytest.raises(InvalidAudio, match=r"codec \(gsm_ms\) is not supported"):
        decoded(pcm_file(tone(1.0, rate=8000), 8000, "WAV", "GSM610"))


def test_a_rate_that_changes_midway_is_refused() -> None:
    first = pcm_file(tone(rate=44_100), 44_100, "FLAC")
    second = pcm_file(tone(rate=RATE), RATE, "FLAC")
    joined = first + second[second.index(b"\xff\xf8") :]
    with pytest.raises(InvalidAudio, match=r"sample rate .* changes at 2\.0 seconds"):
        decoded(joined)


def test_more_channels_are_mixed_to_two() -> None:
    samples = np.repeat(tone(0.5), 6, axis=0)
    mixed = decoded(pcm_file(samples, RATE, "WAVEX"))
    assert mixed.shape == (2, RATE // 2)
    assert np.corrcoef(mixed[0], samples[0])[0, 1] > 0.999


@pytest.mark.parametrize(("channels", "rate"), [(MAX_CHANNELS + 1, RATE), (1, 2000), (1, 200_000)])
def test_channels_and_rates_are_bounded(channels: int, rate: int) -> None:
    with pytest.raises(InvalidAudio, match=rf"{channels} channels at {rate} Hz; send 1 to 8"):
        decoded(pcm_file(np.zeros((channels, 4000), np.float32), rate))


@pytest.mark.parametrize("rate", [8_002, 47_999, 11_025])
def test_any_sample_rate_is_resampled(rate: int) -> None:
    samples = decoded(pcm_file(tone(1.0, rate=rate), rate, subtype="FLOAT"), rate=RATE)
    assert abs(samples.shape[1] - RATE) <= 1
    assert np.corrcoef(samples[0, :31_000], tone(1.0)[0, :31_000])[0, 1] > 0.99


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [RATE, 16_000])
def test_samples_that_are_not_finite_are_refused(value: float, rate: int) -> None:
    samples = tone()
    samples[0, 100] = value
    with pytest.raises(InvalidAudio, match="samples that are not finite"):
        decoded(pcm_file(samples, RATE, subtype="FLOAT"), rate=rate)
    with pytest.raises(InvalidAudio, match="samples that are not finite"):
        decoded(case("nan.wav"))


@pytest.mark.parametrize("file_format", ["WAV", "AIFF", "RF64"])
def test_a_file_without_samples_says_so(file_format: str) -> None:
    with pytest.raises(InvalidAudio, match="has no samples"):
        decoded(pcm_file(np.zeros((1, 0), np.float32), RATE, file_format))


def test_too_few_samples_for_another_rate_are_none() -> None:
    content = pcm_file(np.zeros((1, 1), np.float32), 192_000)
    assert decoded(content).shape == (1, 1)
    with pytest.raises(InvalidAudio, match="has no samples"):
        decoded(content, rate=8_000)


def test_a_flac_without_frames_has_no_samples() -> None:
    content = file_of("flac")
    with pytest.raises(InvalidAudio, match="has no samples"):
        decoded(content[: content.index(b"\xff\xf8")])
