"""Audio that callers give: a path, bytes, or an open file."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

AudioInput = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
_SHOWN = 60  # characters of a text that names no file


@dataclass(frozen=True)
class Uploads:
    """Audio of a request for a track. audio_prompt: its beginning; melody: that it follows."""

    audio_prompt: AudioInput | None = None
    melody: AudioInput | None = None

    @property
    def are_there(self) -> bool:
        return self.audio_prompt is not None or self.melody is not None

    def as_fields(self) -> dict[str, str]:
        """Build the fields of the body: base64. Raises as `read_audio`."""
        given = {"audio_prompt": self.audio_prompt, "melody": self.melody}
        return {
            name: base64.b64encode(read_audio(audio)).decode("ascii")
            for name, audio in given.items()
            if audio is not None
        }


def read_audio(audio: AudioInput) -> bytes:
    """Return the bytes of an audio file.

    audio: the path of a file (`str` is always a path, never base64), the file's bytes, or a file
    opened for reading bytes, which is read from its position to its end.

    Raises OSError for a file that cannot be read, and TypeError for any other kind of value.
    """
    if isinstance(audio, bytes | bytearray | memoryview):
        return bytes(audio)
    if isinstance(audio, str | os.PathLike):
        return _contents(os.fspath(audio))
    content = audio.read() if hasattr(audio, "read") else None
    if not isinstance(content, bytes):
        raise TypeError(
            f"audio must be a path, bytes or a file opened with 'rb', not {type(audio).__name__}"
        )
    return content


def _contents(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the text
        shown = path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."
        reason = error.strerror if isinstance(error, OSError) else error
        raise OSError(
            f"{shown} cannot be read: {reason}. A str is the path of an audio file; pass the content "
            "of a file as bytes."
        ) from error
