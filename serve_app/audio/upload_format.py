"""The formats of audio files that are read: the parts of FFmpeg that may touch an upload.

FFmpeg's own probing finds the format. Its other demuxers include playlists, which open further
files, and are refused.
"""

UPLOAD_FORMATS = "wav, flac, mp3, ogg, m4a, webm, aiff or aac"  # for texts: "a wav, ... file"

_DEMUXERS = ("wav", "w64", "flac", "mp3", "ogg", "mov", "matroska", "aiff", "aac")
_PCM = ("u8", "s8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be",
        "f64le", "f64be", "alaw", "mulaw")  # fmt: skip
DECODERS = frozenset(
    {"flac", "mp3", "mp3float", "vorbis", "opus", "libopus", "aac", "alac", "adpcm_ms",
     "adpcm_ima_wav", *(f"pcm_{encoding}" for encoding in _PCM)}
)  # fmt: skip

# Options of FFmpeg's AVFormatContext. No file names a protocol called `none`: nothing else is opened.
DEMUXER_OPTIONS = {
    "format_whitelist": ",".join(_DEMUXERS),
    "codec_whitelist": ",".join(sorted(DECODERS)),
    "protocol_whitelist": "none",
}
# Codecs that a demuxer takes and cuts into packets wrongly, so that audio would be lost.
REFUSED_CODECS = {"wav": frozenset({"aac"}), "w64": frozenset({"aac"})}
# Decoders that verify their frames only when they are asked to.
DECODER_OPTIONS = {"flac": {"err_detect": "crccheck+explode"}}
# Demuxers whose timestamps count samples: a gap is lost audio. In other containers a recorder's clock
# writes them, and a pause may be one.
SAMPLE_COUNTING = frozenset({"flac", "ogg"})
# Beginnings of tags that FFmpeg's parsers take for a frame, where files were joined.
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
