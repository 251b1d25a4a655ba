"""Conversion of an audio file to another format, as a stream: no file is decoded into memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from serve_app.audio.decoder import MAX_RATE, Decoder, Samples
from serve_app.audio.encoder import Encoder
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import LevelMeter, Mastering
from serve_app.marks import carried


@dataclass(frozen=True)
class _Measured:
    """A decoded file: length in samples, and the gain of its normalization."""

    length: int
    gain: np.float32


class Converter:
    """Converts one file of the UPLOAD_FORMATS.

    The file is resampled while it is decoded, and mastered at the rate of the new file. Where the
    first sample depends on the whole file, the file is decoded twice. The marks of generated audio
    are kept, and no other tags; with_prompt: whether the prompt is, too; stated: marks for a file
    without, which its signed manifest states.
    """

    def __init__(
        self,
        content: bytes,
        max_duration_s: float,
        encoding: Encoding,
        mastering: Mastering,
        *,
        with_prompt: bool = True,
        stated: Mapping[str, str] | None = None,
    ) -> None:
        self._content = content
        self._max_duration_s = max_duration_s
        self._encoding = encoding
        self._mastering = mastering
        self._with_prompt = with_prompt
        self._stated = carried(stated or {}, with_prompt=with_prompt)
        self.decoded_s = 0.0  # seconds of the file decoded so far
        self.marks: dict[str, str] = {}  # tags of the new file
        self.by_tags = False  # whether the old file's tags say that it was generated

    def write(self, path: Path) -> None:
        """Write the new file. Raises InvalidAudio, and InvalidRequest for an impossible bit rate."""
        measured = _Measured(0, np.float32(1.0))
        if self._mastering.needs_whole:
            measured = self._measure()
        with path.open("w+b") as file:
            self._encode(file, measured)

    def _encode(self, file: BinaryIO, measured: _Measured) -> None:
        encoder: Encoder | None = None
        position = 0
        for part, rate in self._decoded():
            if encoder is None:
                encoding = replace(self._encoding, tags=self.marks)
                encoder = Encoder(encoding, rate, len(part), streamed=False, file=file)
            gained = part * measured.gain
            encoder.add(self._mastering.part(gained, rate, position, measured.length))
            position += part.shape[1]
        if encoder is not None:
            encoder.finish()

    def _measure(self) -> _Measured:
        length = 0
        meter: LevelMeter | None = None
        for part, rate in self._decoded():
            meter = meter or self._mastering.meter(rate)
            meter.add(part)
            length += part.shape[1]
        return _Measured(length, meter.gain() if meter is not None else np.float32(1.0))

    def _decoded(self) -> Iterator[tuple[Samples, int]]:
        """Yield the file's samples in parts, with their rate in Hz."""
        decoder = Decoder(self._content, self._max_duration_s, self._rate_from)
        try:
            for part in decoder.parts():
                found = carried(decoder.metadata, with_prompt=self._with_prompt)
                self.by_tags = bool(found)
                self.marks = found or self._stated
                yield part, decoder.sample_rate
        finally:
            self.decoded_s = max(self.decoded_s, decoder.decoded_s)

    def _rate_from(self, rate: int) -> int:
        return self._encoding.rate_from(min(rate, MAX_RATE))
