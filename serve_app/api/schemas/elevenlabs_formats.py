"""ElevenLabs' names of file formats: codec, sample rate and bit rate, as `mp3_44100_128`."""

from collections.abc import Mapping

from serve_app.audio.file_options import FileOptions

AUTO = "auto"
_AUTO_FORMAT = "mp3_44100_128"
_AUTO_FORMAT_OF_V2 = "mp3_48000_192"
_TELEPHONY = ("ulaw_8000", "alaw_8000")
# Layer III has no constant bit rate of 240 kbit/s: the next one is used.
_MP3_BITRATES = {240: 256}
_MP3 = (
    (22_050, (32,)),
    (24_000, (48,)),
    (44_100, (32, 64, 96, 128, 192)),
    (48_000, (128, 192, 240, 320)),
)
_OPUS_BITRATES = (32, 64, 96, 128, 192)
_PCM_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def _table() -> dict[str, FileOptions]:
    found: dict[str, FileOptions] = {}
    for rate, bitrates in _MP3:
        for kbps in bitrates:
            bitrate = _MP3_BITRATES.get(kbps, kbps)
            found[f"mp3_{rate}_{kbps}"] = FileOptions(
                response_format="mp3", sample_rate=rate, bitrate_kbps=bitrate
            )
    for kbps in _OPUS_BITRATES:
        found[f"opus_48000_{kbps}"] = FileOptions(
            response_format="opus", sample_rate=48_000, bitrate_kbps=kbps
        )
    for name in ("pcm", "wav"):
        for rate in _PCM_RATES:
            found[f"{name}_{rate}"] = FileOptions(response_format=name, sample_rate=rate)
    return found


FORMATS: Mapping[str, FileOptions] = _table()
NAMES = (AUTO, *FORMATS)


def file_options(name: str, model_id: str | None) -> FileOptions:
    """Find the options of a format's name; `auto` depends on ElevenLabs' model.

    Raises ValueError for a name that is not offered.
    """
    if name == AUTO:
        is_v2 = model_id is not None and model_id.startswith("music_v2")
        return FORMATS[_AUTO_FORMAT_OF_V2 if is_v2 else _AUTO_FORMAT]
    found = FORMATS.get(name)
    if found is None:
        reason = "has no encoder here" if name in _TELEPHONY else "is no format"
        raise ValueError(f"'{name}' {reason}: use one of {', '.join(NAMES)}")
    return found
